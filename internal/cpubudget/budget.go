// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package cpubudget bounds the processor time that a process spends on work that
// somebody else causes.
//
// The kernel's clock of the whole process is the measure (CLOCK_PROCESS_CPUTIME_ID,
// clock_gettime(2)), so whatever the work costs is counted: system calls, the
// garbage collector, helpers. Before each piece of work its goroutine calls Wait,
// which lets it go on while there is something left, and else holds it back, one
// after the other, until the time is earned.
package cpubudget

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// look is how long a measurement holds.
	look = time.Millisecond
	// quantum is what a budget must have earned before the next goes on, so that
	// a budget that is used up does not wake somebody for each microsecond.
	quantum = time.Millisecond
	// longest bounds one sleep, so that a changed rate counts soon.
	longest = 100 * time.Millisecond
	// saved and owed bound the balance, as time of the rate: what an idle
	// process saves up, and what other work of the process can cost its user.
	saved, owed = 500 * time.Millisecond, 2 * time.Second
)

// Budget is a rate of processor time. A nil one is without a bound. Its methods
// are safe for concurrent use.
type Budget struct {
	used func() (time.Duration, error) // by the process, until now
	turn chan struct{}                 // whoever waits for the budget holds it

	mu   sync.Mutex // guards what follows
	rate float64    // processors; 0 is without a bound
	left time.Duration
	at   time.Time // of the last measurement
	cpu  time.Duration
}

// New returns a budget of so many processors; 0 is without a bound. What the
// process has used until now does not count.
func New(cpus float64) *Budget { return newBudget(cpus, processTime) }

func newBudget(cpus float64, used func() (time.Duration, error)) *Budget {
	b := &Budget{used: used, turn: make(chan struct{}, 1)}
	b.Set(cpus)
	return b
}

// Set changes the rate.
func (b *Budget) Set(cpus float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate = max(cpus, 0)
	b.left = time.Duration(b.rate * float64(saved))
	b.at = time.Now()
	b.cpu, _ = b.used()
}

// Wait returns when there is time left, or with the context's error.
func (b *Budget) Wait(ctx context.Context) error {
	if b == nil || b.short(0) == 0 {
		return ctx.Err()
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.turn }()
	for need := time.Duration(0); ; need = quantum {
		wait := b.short(need)
		if wait == 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// short measures, and returns how long to wait until more than need is left.
func (b *Budget) short(need time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return 0
	}
	if elapsed := time.Since(b.at); elapsed >= look {
		b.measure(elapsed)
	}
	if b.left > 0 && b.left >= min(need, time.Duration(b.rate*float64(saved))) {
		return 0
	}
	missing := max(need, quantum) - b.left
	return min(max(time.Duration(float64(missing)/b.rate), look), longest)
}

// measure is called with mu held.
func (b *Budget) measure(elapsed time.Duration) {
	cpu, err := b.used()
	if err != nil { // it cannot be; then all of the time is taken for used
		cpu = b.cpu + elapsed
	}
	b.left += time.Duration(b.rate*float64(elapsed)) - (cpu - b.cpu)
	b.left = min(b.left, time.Duration(b.rate*float64(saved)))
	b.left = max(b.left, -time.Duration(b.rate*float64(owed)))
	b.at, b.cpu = b.at.Add(elapsed), cpu
}

func processTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}
