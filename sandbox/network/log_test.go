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

// TestSums: what destinations have had is kept for a log that is never closed, and
// is gone with one that is.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	sums := func() (all []event.Event) {
		t.Helper()
		if err := ReadSums(dir, func(e event.Event) error { all = append(all, e); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	l, err := CreateLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		l.Sums([]event.Event{{Kind: event.Summary, Name: "a.test", Port: 443, Sent: n}, {Kind: event.Summary, Name: "b.test", Port: 22}})
	}
	if got := sums(); len(got) != 2 || got[0].Name != "a.test" || got[0].Sent != 2 || got[0].Reason == "" {
		t.Errorf("%+v", got)
	}
	if l, err = CreateLog(dir); err != nil || sums() != nil { // of the next start
		t.Errorf("%+v, %v", sums(), err)
	}
	l.Sums([]event.Event{{Kind: event.Summary}})
	if err := l.Close(); err != nil || sums() != nil {
		t.Errorf("%+v, %v", sums(), err)
	}
}
