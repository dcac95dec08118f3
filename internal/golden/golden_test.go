// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package golden

import "testing"

func TestFirstDifference(t *testing.T) {
	for _, c := range []struct {
		got, want string
		line      int
		is        string
	}{
		{"a\nb\n", "a\nb\n", 0, ""},
		{"a\nx\n", "a\nb\n", 2, "x"},
		{"a\n", "a\nb\n", 2, ""},
		{"a\nb\nc\n", "a\nb\n", 3, "c"},
		{"a", "a\nb", 2, "(missing)"},
		{"", "a", 1, ""},
	} {
		if line, is := firstDifference(c.got, c.want); line != c.line || is != c.is {
			t.Errorf("%q against %q: line %d %q, want %d %q", c.got, c.want, line, is, c.line, c.is)
		}
	}
}
