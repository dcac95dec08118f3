// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What is read after the download has ended is told as unpacking.
func TestGrowingTellsWhatIsBehind(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("0123456789"); err != nil {
		t.Fatal(err)
	}
	var told []Event
	g := newGrowing(f, 4)
	g.behind = &Meter{Tell: func(e Event) { told = append(told, e) }, Action: "unpack"}
	buf := make([]byte, 4)
	if n, err := g.Read(buf); n != 4 || err != nil || len(told) > 0 {
		t.Error(n, err, told)
	}
	g.grow(6)
	g.finish(nil)
	if n, err := g.Read(buf); n != 4 || err != nil || len(told) != 1 || told[0].Action != "unpack" || told[0].Done != 8 {
		t.Error(n, err, told)
	}
}

func TestUnpackingSumsUp(t *testing.T) {
	var u Unpacking
	a, b := digest.FromString("a"), digest.FromString("b")
	for _, c := range []struct {
		e           Event
		what        string
		done, total int64
	}{
		{Event{Action: "unpack", Digest: a, Done: 1, Total: 10}, "Unpacking a layer", 1, 10},
		{Event{Action: "unpack", Digest: b, Done: 2, Total: 20}, "Unpacking 2 layers", 3, 30},
		{Event{Action: "sync", Digest: a, Done: 10, Total: 10}, "Unpacking 2 layers", 12, 30},
		{Event{Action: "sync", Digest: b, Done: 20, Total: 20}, "Writing 2 layers to disk", 0, 0},
	} {
		if what, done, total := u.Add(c.e); what != c.what || done != c.done || total != c.total {
			t.Errorf("%v: %s, %d of %d", c, what, done, total)
		}
	}
}
