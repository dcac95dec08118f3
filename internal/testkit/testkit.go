// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package testkit holds what tests of several packages do in the same way: they
// wait for a condition, and count what a process keeps open. For tests only.
package testkit

import (
	"os"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

const (
	// Patience is how long a test waits for what must happen. A busy machine
	// may need much of it; only a test that fails uses it up.
	Patience = time.Minute

	// pause is the time between two looks.
	pause = 5 * time.Millisecond
)

// Within looks until condition holds, and reports whether it did before the time was
// over. It looks at least once, and a last time at the end.
func Within(most time.Duration, condition func() bool) bool {
	for end := time.Now().Add(most); ; time.Sleep(pause) {
		late := !time.Now().Before(end)
		if condition() {
			return true
		}
		if late {
			return false
		}
	}
}

// Eventually waits until condition holds, and ends the test if it does not within most;
// what says what is waited for.
func Eventually(tb testing.TB, most time.Duration, what string, condition func() bool) {
	tb.Helper()
	if !Within(most, condition) {
		tb.Fatalf("not so after %v: %s", most, what)
	}
}

// Ended waits until a process has ended, whether or not its parent has collected it,
// and reports whether it has before the time was over.
func Ended(most time.Duration, pid int) bool {
	return Within(most, func() bool {
		stat, err := procstat.Read(pid)
		return err != nil || stat.State == 'Z' || stat.State == 'X'
	})
}

// Descriptors counts the open file descriptors of this process.
func Descriptors(tb testing.TB) int {
	tb.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		tb.Fatal(err)
	}
	return len(names) - 1 // dir's own
}

// KeepsNone fails if repeated calls of f leave file descriptors open. The first
// call is not counted: it may open what a process keeps for good. Each further
// one may leave allowed descriptors, which the test itself is to close later.
func KeepsNone(tb testing.TB, allowed int, f func()) {
	tb.Helper()
	f()
	const times = 3
	before := Descriptors(tb)
	for range times {
		f()
	}
	if after := Descriptors(tb); after > before+times*allowed {
		tb.Errorf("%d file descriptors are open after %d times, %d were before", after, times, before)
	}
}
