// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// TestPaced: output waits while the budget is used up, and comes at once after the
// program's end; without a bound it never waits.
func TestPaced(t *testing.T) {
	for _, rate := range []float64{0, 1e-9} {
		synctest.Test(t, func(t *testing.T) {
			l := &limits{budget: cpubudget.New(rate)}
			exited := make(chan struct{})
			written := 0
			write := l.paced(exited, func(wire.Type, []byte) { written++ })
			time.Sleep(time.Second) // so that the budget measures
			go write(wire.Stdout, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if (written == 1) != (rate == 0) {
				t.Errorf("rate %v: written %d times", rate, written)
			}
			close(exited)
			synctest.Wait()
			if written != 1 {
				t.Errorf("rate %v: written %d times after the end", rate, written)
			}
		})
	}
}
