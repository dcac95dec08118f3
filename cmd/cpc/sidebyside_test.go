// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// All names are worked on at once, and their results come in the order of the names.
func TestSideBySide(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(3)
	all := make(chan struct{})
	go func() {
		begun.Wait()
		close(all)
	}()
	var out strings.Builder
	failed := errors.New("b failed")
	err := sideBySide(&out, []string{"a", "b", "c"}, func(name string) (string, error) {
		begun.Done()
		select {
		case <-all:
		case <-time.After(10 * time.Second):
			t.Errorf("%s waits for others", name)
		}
		if name == "b" {
			return "", failed
		}
		return name, nil
	})
	if out.String() != "a\nc\n" || !errors.Is(err, failed) {
		t.Errorf("printed %q: %v", out.String(), err)
	}
}

// No more than some at once, and never two of the same name.
func TestSideBySideIsBounded(t *testing.T) {
	var now, most atomic.Int32
	var same sync.Mutex
	names := make([]string, 3*atOnce)
	for i := range names {
		if names[i] = "same"; i%2 == 0 {
			names[i] = strings.Repeat("x", i+1)
		}
	}
	err := sideBySide(&strings.Builder{}, names, func(name string) (string, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		if name == "same" {
			if !same.TryLock() {
				t.Error("the same name twice at once")
				return name, nil
			}
			defer same.Unlock()
		}
		time.Sleep(time.Millisecond)
		return name, nil
	})
	if err != nil || most.Load() > atOnce {
		t.Errorf("%d at once: %v", most.Load(), err)
	}
}
