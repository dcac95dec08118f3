// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cpubudget

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRate has workers that would use all of a processor: they get what the
// budget is, whatever the number of them, and what was saved once.
func TestRate(t *testing.T) {
	for _, workers := range []int{1, 100} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var cpu time.Duration
			b := newBudget(0.1, func() (time.Duration, error) {
				mu.Lock()
				defer mu.Unlock()
				return cpu, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for b.Wait(ctx) == nil {
						mu.Lock()
						cpu += 100 * time.Microsecond
						mu.Unlock()
						time.Sleep(100 * time.Microsecond)
					}
				})
			}
			wg.Wait()
			if want := time.Second; cpu < want*9/10 || cpu > want*12/10 {
				t.Errorf("%d workers used %v in 10 s of a budget of 0.1: want about %v", workers, cpu, want)
			}
		})
	}
}

func TestWithoutBound(t *testing.T) {
	for _, b := range []*Budget{nil, New(0)} {
		if err := b.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestEnds: who waits is let go by the context; debts are bounded; a rate that
// is taken away counts.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cpu time.Duration
		b := newBudget(0.1, func() (time.Duration, error) { return cpu, nil })
		cpu = time.Hour
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a debt: %v", err)
		}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(start) > 2*owed {
			t.Errorf("a debt of an hour: %v after %v", err, time.Since(start))
		}
		b.Set(0)
		cpu += time.Hour
		if err := b.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestClockFails: without a measure, all time counts as used.
func TestClockFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(0.1, func() (time.Duration, error) { return 0, errors.New("no clock") })
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.Wait(ctx); err == nil {
			t.Error("work went on")
		}
	})
}
