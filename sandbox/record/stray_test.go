// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// What is no regular file holds up nobody, and the error says what to delete.
func TestStrayRecords(t *testing.T) {
	s := newSet(t)
	good, _ := add(t, s, id("abc"), "good")
	stray := map[string]func(string) error{
		id("1"): func(f string) error { return unix.Mkfifo(f, 0o600) },
		id("2"): func(f string) error { return os.Symlink(filepath.Join(good.Dir, recordFile), f) },
		id("3"): func(f string) error { return os.Mkdir(f, 0o700) },
	}
	for name, plant := range stray {
		dir := filepath.Join(s.root(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := plant(filepath.Join(dir, recordFile)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(dir, lockFile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all, err := s.List()
		if err != nil || len(all) != 1+len(stray) {
			t.Errorf("%d entries, %v", len(all), err)
		}
		for _, e := range all {
			if why := e.Record.Outcome.Error; e.Record.ID != good.Record.ID && (e.Record.Status != Dead || !strings.Contains(why, recordFile)) {
				t.Errorf("%s: %s, %q", Short(e.Record.ID), e.Record.Status, why)
			}
		}
		if _, err := s.Stale(); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("still waits for a stray file")
	}
}

// What has an id for its name and is no directory is swept away; a link to
// another's directory is not followed. Other names are told of and left alone.
func TestStrayDirectories(t *testing.T) {
	s := newSet(t)
	good, _ := add(t, s, id("abc"), "good")
	copied := filepath.Join(s.root(), id("5"))
	if err := os.CopyFS(copied, os.DirFS(good.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.steps(), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, plant := range map[string]func(string) error{
		filepath.Join(s.root(), id("1")):  func(f string) error { return unix.Mkfifo(f, 0o600) },
		filepath.Join(s.root(), id("2")):  func(f string) error { return os.Symlink(good.Dir, f) },
		filepath.Join(s.root(), id("3")):  func(f string) error { return os.WriteFile(f, nil, 0o600) },
		filepath.Join(s.steps(), id("4")): func(f string) error { return unix.Mkfifo(f, 0o600) },
		filepath.Join(s.root(), "notes"):  func(f string) error { return os.Mkdir(f, 0o700) },
		filepath.Join(s.steps(), "swap"):  func(f string) error { return unix.Mkfifo(f, 0o600) },
	} {
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := s.Find(id("2")); err != nil || e.Attended() || e.Record.Status != Dead {
		t.Errorf("a link to another's directory: %+v, %v", e, err)
	} else if _, err := e.Dial(); err == nil {
		t.Error("a link leads to another's control socket")
	}
	var w witness
	if err := s.Sweep(&w); err != nil || len(w.saw) != 4 {
		t.Errorf("swept %q, %v", w.saw, err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Record.Name != "good" || !all[0].Attended() {
		t.Errorf("left %d, %v", len(all), err)
	}
	if strays, err := s.Strays(); err != nil || len(strays) != 2 {
		t.Errorf("strays %q, %v", strays, err)
	}
}

// A lock that is none fails at once, and says what to delete.
func TestStrayLocks(t *testing.T) {
	s := newSet(t)
	if err := os.MkdirAll(s.Dirs.State, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func() error{
		"names.lock":  func() error { _, _, err := s.Add(&Record{ID: NewID(), Name: "x"}); return err },
		"builds.lock": func() error { _, err := s.HoldBuild(); return err },
	} {
		path := filepath.Join(s.Dirs.State, name)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := take(); !ownfile.IsStray(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := take(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
