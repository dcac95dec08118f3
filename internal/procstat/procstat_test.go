// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package procstat

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const rest = " 7 3 4 5 6 4194560 8 9 10 11 12 13 14 15 16 17 18 19 4711 0\n"
	for name, c := range map[string]struct {
		text string
		want Stat
		ok   bool
	}{
		"plain":            {"42 (sh) T" + rest, Stat{Name: "sh", State: 'T', Parent: 7, Flags: 4194560, Start: 4711, Used: 25}, true},
		"a name that lies": {"42 (a) T 1) S" + rest, Stat{Name: "a) T 1", State: 'S', Parent: 7, Flags: 4194560, Start: 4711, Used: 25}, true},
		"a zombie":         {"42 (sh) Z 7 3 4 5 6 1 8 9 10 11 12 13 14 15 16 17 18 19 4711" + strings.Repeat(" 0", 29) + " 256\n", Stat{Name: "sh", State: 'Z', Parent: 7, Flags: 1, Start: 4711, Used: 25, Exit: 256}, true},
		"too short":        {"42 (sh) T 7 3", Stat{}, false},
		"no name":          {"42 sh T" + rest, Stat{}, false},
		"not a number":     {"42 (sh) T x 3 4 5 6 4194560 8 9 10 11 12 13 14 15 16 17 18 19 4711 0\n", Stat{}, false},
		"nothing":          {"", Stat{}, false},
	} {
		got, err := parse(c.text)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
