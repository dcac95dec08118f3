// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"
)

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if looks := 0; Within(0, func() bool { looks++; return false }) || looks != 1 {
			t.Errorf("%d looks without time", looks)
		}
		if Within(time.Second, func() bool { return false }) || time.Since(began) < time.Second {
			t.Errorf("gave up after %v", time.Since(began))
		}
		began = time.Now()
		if !Within(time.Second, func() bool { return time.Since(began) >= time.Second }) {
			t.Error("what holds at the end was not seen")
		}
	})
}

func TestEnded(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if Ended(0, cmd.Process.Pid) {
		t.Error("a process that runs is said to have ended")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !Ended(Patience, cmd.Process.Pid) { // nobody has waited for it
		t.Error("a killed process is said to run")
	}
	_ = cmd.Wait() // killed
	if !Ended(0, cmd.Process.Pid) {
		t.Error("a process that was waited for is said to run")
	}
}

// recorder keeps whether a test failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestKeepsNone(t *testing.T) {
	var kept []*os.File
	defer func() {
		for _, f := range kept {
			_ = f.Close()
		}
	}()
	open := func() {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, f)
	}
	for _, c := range []struct {
		name    string
		allowed int
		f       func()
		leaks   bool
	}{
		{"nothing", 0, func() {}, false},
		{"one each time", 0, open, true},
		{"one each time, as allowed", 1, open, false},
	} {
		r := &recorder{TB: t}
		KeepsNone(r, c.allowed, c.f)
		if r.failed != c.leaks {
			t.Errorf("%s: fails %t", c.name, r.failed)
		}
	}
}
