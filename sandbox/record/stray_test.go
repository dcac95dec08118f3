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
