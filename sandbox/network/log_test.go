// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
)

// TestLogKeepsFirstAndLast: the first decisions and the last are there, each once
// and in order, however many came between.
func TestLogKeepsFirstAndLast(t *testing.T) {
	long := strings.Repeat("x", 900)
	for _, n := range []int{1, 500, 4 * logfile.MaxFile / 1000} {
		dir := t.TempDir()
		l, err := CreateLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			l.Append(event.Event{Kind: event.Connect, Version: i, Reason: long})
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var got []int
		if err := ReadLog(t.Context(), dir, func() bool { return true }, func(e event.Event) error { got = append(got, e.Version); return nil }); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if i > 0 && v <= got[i-1] {
				t.Fatalf("of %d: %d after %d", n, v, got[i-1])
			}
		}
		if len(got) == 0 || got[0] != 0 || got[len(got)-1] != n-1 || n < 1000 && len(got) != n || n > 1000 && len(got) >= n {
			t.Errorf("%d of %d, from %v", len(got), n, got[:1])
		}
	}
}
