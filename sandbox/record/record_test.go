// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/dirs"
)

func newSet(t *testing.T) Set {
	t.Helper()
	return Set{Dirs: dirs.Dirs{Data: filepath.Join(t.TempDir(), "data"), State: filepath.Join(t.TempDir(), "state")}}
}

// add makes a sandbox whose monitor lives until the returned file is closed.
func add(t *testing.T, s Set, id, name string) (*Entry, *os.File) {
	t.Helper()
	e, held, err := s.Add(&Record{ID: id, Name: name, Status: Created, Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() })
	return e, held
}

func id(begin string) string { return begin + strings.Repeat("0", 64-len(begin)) }

func TestFind(t *testing.T) {
	s := newSet(t)
	add(t, s, id("abc1"), "one")
	add(t, s, id("abc2"), "two")
	add(t, s, id("fff"), "abc1") // a name that is another's beginning
	for _, c := range []struct {
		ask, name string
		err       error
	}{
		{"one", "one", nil},
		{"abc1", "abc1", nil}, // the name wins
		{"abc2", "two", nil},
		{id("abc1"), "one", nil},
		{"abc", "", ErrAmbiguous},
		{"on", "", ErrNotFound}, // names are whole
		{"", "", ErrNotFound},
		{"..", "", ErrNotFound},
	} {
		e, err := s.Find(c.ask)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("Find(%q): error %v, want %v", c.ask, err, c.err)
		} else if err == nil && e.Record.Name != c.name {
			t.Errorf("Find(%q) is %s, want %s", c.ask, e.Record.Name, c.name)
		}
	}
}

func TestNameInUse(t *testing.T) {
	s := newSet(t)
	e, _ := add(t, s, NewID(), "one")
	second := &Record{ID: NewID(), Name: "one"}
	if _, _, err := s.Add(second); !errors.Is(err, ErrNameInUse) {
		t.Fatalf("error %v, want ErrNameInUse", err)
	}
	if _, err := os.Stat(s.Entry(second).Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the refused sandbox left its directory: %v", err)
	}
	if err := e.Delete(); err != nil {
		t.Fatal(err)
	}
	add(t, s, second.ID, "one")
}

func TestConcurrentAdds(t *testing.T) {
	s := newSet(t)
	const n = 16
	won := make(chan *os.File, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			_, held, err := s.Add(&Record{ID: NewID(), Name: "same"})
			switch {
			case err == nil:
				won <- held
			case !errors.Is(err, ErrNameInUse):
				t.Errorf("error %v, want ErrNameInUse", err)
			}
		})
		// Whoever lists meanwhile must not disturb.
		wg.Go(func() {
			if _, err := s.Stale(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(won)
	count := 0
	for held := range won {
		count++
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
	all, err := s.List()
	if count != 1 || len(all) != 1 || err != nil {
		t.Errorf("%d have the name, %d are listed (%v); want 1", count, len(all), err)
	}
}

// TestAddWhileListed: listing takes the lock of an entry for an instant.
func TestAddWhileListed(t *testing.T) {
	s := newSet(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Stale(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 300 {
		e, held, err := s.Add(&Record{ID: NewID(), Name: "x"})
		if err != nil {
			t.Error(err)
			break
		}
		if err := errors.Join(e.Delete(), held.Close()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestListNewestFirst(t *testing.T) {
	s := newSet(t)
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Fatalf("before the first: %v, %v", all, err)
	}
	for i, name := range []string{"old", "new", "mid"} {
		at := time.Unix([]int64{1, 3, 2}[i], 0)
		_, held, err := s.Add(&Record{ID: NewID(), Name: name, Created: at})
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
	}
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.Record.Name)
	}
	if strings.Join(got, " ") != "new mid old" {
		t.Errorf("listed %v", got)
	}
}

func TestUnreadable(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":         `{"version":1,"id":"ab`,
		"empty":           "",
		"another version": `{"version":99,"name":"future"}`,
		"not an object":   `[1]`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t)
			e, held := add(t, s, NewID(), "broken")
			if err := os.WriteFile(filepath.Join(e.Dir, recordFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			listed(t, s, e.Record.ID)
			// Attended, it is nobody else's business; after that it is cleaned up.
			sweep(t, s, nil)
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
			sweep(t, s, []string{e.Record.ID})
		})
	}
	t.Run("missing", func(t *testing.T) {
		s := newSet(t)
		e, _ := add(t, s, NewID(), "broken")
		if err := os.Remove(filepath.Join(e.Dir, recordFile)); err != nil {
			t.Fatal(err)
		}
		listed(t, s, e.Record.ID)
	})
	t.Run("too large", func(t *testing.T) {
		s := newSet(t)
		e, _ := add(t, s, NewID(), "broken")
		if err := os.Truncate(filepath.Join(e.Dir, recordFile), maxRecord+1); err != nil {
			t.Fatal(err)
		}
		listed(t, s, e.Record.ID)
	})
}

// listed checks that the one sandbox is listed as dead, with the reason.
func listed(t *testing.T, s Set, id string) {
	t.Helper()
	e, err := s.Find(id)
	if err != nil || e.Record.Status != Dead || e.Record.Outcome.Error == "" || e.Record.ID != id {
		t.Errorf("found %+v, %v; want it dead, with the reason", e, err)
	}
}

// witness is a Cleaner that notes what it is asked to clean.
type witness struct {
	saw  []string
	fail error
}

func (w *witness) Sandbox(e *Entry) error {
	w.saw = append(w.saw, e.Record.ID)
	if w.fail != nil {
		return w.fail
	}
	return e.Delete()
}

func (w *witness) Orphan(id string) error { w.saw = append(w.saw, "orphan "+id); return nil }

func (w *witness) Step(_ string, note []byte) error {
	w.saw = append(w.saw, "step "+string(note))
	return nil
}

func sweep(t *testing.T, s Set, want []string) {
	t.Helper()
	var w witness
	err := s.Sweep(&w)
	if err != nil || strings.Join(w.saw, ",") != strings.Join(want, ",") {
		t.Errorf("swept %q (%v), want %q", w.saw, err, want)
	}
}

func TestSweepBuilds(t *testing.T) {
	s := newSet(t)
	if err := os.MkdirAll(filepath.Join(s.Dirs.Data, "scratch", "build-X"), 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := s.HoldBuild()
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.AddStep(NewID(), []byte("of the living"))
	if err != nil {
		t.Fatal(err)
	}
	// What a builder that died leaves: a file that nobody has locked.
	if err := os.WriteFile(filepath.Join(s.steps(), id("d")), []byte("of the dead"), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, []string{"step of the dead"})
	sweep(t, s, nil)
	if err := errors.Join(done(), held.Close()); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, []string{"orphan build-X"})
}

func TestSweep(t *testing.T) {
	s := newSet(t)
	lives, _ := add(t, s, id("1"), "lives")
	died, held := add(t, s, id("2"), "died")
	ended, held2 := add(t, s, id("3"), "ended")
	ended.Record.Status = Exited
	if err := errors.Join(ended.Save(), held.Close(), held2.Close()); err != nil {
		t.Fatal(err)
	}
	orphan := id("4")
	for _, dir := range []string{"scratch/" + orphan, "scratch/not-an-id", "sandboxes/" + orphan} {
		if err := os.MkdirAll(filepath.Join(s.Dirs.Data, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if !lives.Attended() || died.Attended() || ended.Attended() {
		t.Errorf("attended: %v %v %v", lives.Attended(), died.Attended(), ended.Attended())
	}
	left, err := s.Stale()
	if err != nil || left.Empty() || len(left.Entries) != 1 || len(left.Orphans) != 1 {
		t.Errorf("stale: %+v, %v", left, err)
	}
	sweep(t, s, []string{died.Record.ID, "orphan " + orphan})
}

func TestSweepGoesOn(t *testing.T) {
	s := newSet(t)
	for _, n := range []string{"1", "2", "3"} {
		_, held := add(t, s, id(n), n)
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	w := witness{fail: boom}
	err := s.Sweep(&w)
	if len(w.saw) != 3 || !errors.Is(err, boom) {
		t.Errorf("%d calls, error %v; want 3 and boom", len(w.saw), err)
	}
}

func TestClaim(t *testing.T) {
	s := newSet(t)
	e, held := add(t, s, NewID(), "x")
	if f, err := e.Claim(); f != nil || err != nil {
		t.Fatalf("claimed %v, %v although its monitor lives", f, err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := e.Claim()
	if f == nil || err != nil {
		t.Fatalf("not claimed: %v", err)
	}
	if !e.Attended() {
		t.Error("claimed and not attended")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestSocket uses a path that is longer than a socket's address can be.
func TestSocket(t *testing.T) {
	s := newSet(t)
	s.Dirs.State = filepath.Join(s.Dirs.State, strings.Repeat("d", 200))
	e, _ := add(t, s, NewID(), "x")
	if c, err := e.Dial(); err == nil {
		_ = c.Close()
		t.Error("connected to nobody")
	}
	l, err := e.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := e.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
}

func TestShort(t *testing.T) {
	if got := Short("0123456789abcdef"); got != "0123456789ab" {
		t.Errorf("Short = %q", got)
	}
	if got := Short("01"); got != "01" {
		t.Errorf("Short = %q", got)
	}
}
