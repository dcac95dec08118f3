// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func numbered(n int) Event {
	r := &record.Record{ID: "id", Name: "name", Asked: record.Asked{Image: "image", Labels: map[string]string{"k": "v"}}}
	return New(r, "start", map[string]string{"n": strconv.Itoa(n)})
}

func numbers(t *testing.T, j Journal) []string {
	t.Helper()
	var got []string
	if err := j.Read(func(e Event) error { got = append(got, e.Actor.Attributes["n"]); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadWhatWasAppended(t *testing.T) {
	j := Journal{Dir: filepath.Join(t.TempDir(), "events"), Max: 1 << 20}
	if got := numbers(t, j); got != nil {
		t.Errorf("empty: %v", got)
	}
	for n := range 3 {
		if err := j.Append(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(numbers(t, j)); got != "[0 1 2]" {
		t.Errorf("%s", got)
	}
}

// TestBounded: the latest events are there, within the size, whoever appends.
func TestBounded(t *testing.T) {
	j := Journal{Dir: t.TempDir(), Max: 8 << 10}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 100 {
				if err := j.Append(numbered(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := j.Append(numbered(4711)); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, j)
	if len(got) < 8 || got[len(got)-1] != "4711" {
		t.Errorf("%v", got)
	}
	for _, name := range []string{current, former} {
		if fi, err := os.Stat(filepath.Join(j.Dir, name)); err != nil || fi.Size() > j.Max/2 {
			t.Errorf("%s: %+v, %v", name, fi, err)
		}
	}
}

// TestFollow: what comes is read once and in order, over the change of files.
func TestFollow(t *testing.T) {
	j := Journal{Dir: t.TempDir(), Max: 64 << 10}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const count = 200
	go func() {
		for n := range count {
			if err := j.Append(numbered(n)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	next := 0
	err := j.Follow(ctx, func(e Event) error {
		if got := e.Actor.Attributes["n"]; got != strconv.Itoa(next) {
			return fmt.Errorf("event %s, want %d", got, next)
		}
		if next++; next == count {
			cancel()
		}
		return nil
	})
	if err != nil || next != count {
		t.Errorf("%d events, %v", next, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"Action":"start","Actor":{"Attributes":{"n":"1"}}}` + "\n{broken\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := Journal{Dir: t.TempDir(), Max: 1 << 20}
		if err := os.WriteFile(filepath.Join(j.Dir, current), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := j.Read(func(e Event) error {
			if e.Action == "" {
				t.Error("an event without an action")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestFirstAreKept: the journal of a sandbox has its first events however many
// follow; without the option they are lost.
func TestFirstAreKept(t *testing.T) {
	for _, first := range []bool{true, false} {
		j := Journal{Dir: t.TempDir(), Max: 8 << 10, First: first}
		for n := range 500 {
			if err := j.Append(numbered(n)); err != nil {
				t.Fatal(err)
			}
		}
		got := numbers(t, j)
		if (got[0] == "0") != first || got[len(got)-1] != "499" || len(got) > 100 {
			t.Errorf("first is %v: %v", first, got)
		}
	}
}

// TestFewOfEachAreKept: the first events of a sandbox are in the common journal
// however much another makes happen. Where there are too many sandboxes, those
// that were removed give way first. No event is there twice.
func TestFewOfEachAreKept(t *testing.T) {
	of := func(id, action string, n int) Event {
		return New(&record.Record{ID: id, Name: id, Asked: record.Asked{Image: "image"}}, action, map[string]string{"n": strconv.Itoa(n)})
	}
	j := Journal{Dir: t.TempDir(), Max: 64 << 10, Few: 2}
	put := func(e Event) {
		t.Helper()
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	put(of("quiet", "create", 0))
	put(of("quiet", "start", 1))
	const short = 200 // sandboxes that come and go
	for n := range short {
		put(of(fmt.Sprint("gone", n), "create", n))
		put(of(fmt.Sprint("gone", n), "destroy", n))
	}
	for n := range 2000 {
		put(of("loud", "exec_die", n))
	}
	seen := map[string]int{}
	var order []int64
	if err := j.Read(func(e Event) error {
		seen[fmt.Sprint(e.ID, e.Action, e.Actor.Attributes["n"])]++
		order = append(order, e.TimeNano)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"quietcreate0", "quietstart1", "loudexec_die0", "loudexec_die1", "loudexec_die1999"} {
		if seen[want] != 1 {
			t.Errorf("%s is there %d times", want, seen[want])
		}
	}
	if seen["loudexec_die2"] != 0 || seen["gone0create0"] != 0 || seen[fmt.Sprintf("gone%dcreate%[1]d", short-1)] != 1 {
		t.Errorf("of those that were removed the latest should be left, and of noise the first: %v", seen)
	}
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", what, n)
		}
	}
	if !slices.IsSorted(order) {
		t.Error("not in order")
	}
	for name, most := range map[string]int64{first: j.Max / partFew, former: j.Max / 2, current: j.Max / 2} {
		if fi, err := os.Stat(filepath.Join(j.Dir, name)); err != nil || fi.Size() > most {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
}
