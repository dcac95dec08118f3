// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package enter

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// ErrStopped reports that a process of the container has stopped the one that was
// to become the command. That one is gone. The long way would not do better.
var ErrStopped = errors.New("the container has stopped the process that was to become the command")

const (
	// A process that is seen to be stopped this often, one look after the other, is
	// held up on purpose.
	stoppedLooks = 4
	lookEvery    = 500 * time.Millisecond
)

// killStopped kills the process if it stays stopped. The returned function ends
// that, and says whether it was done.
func killStopped(p *os.Process) (done func() bool) {
	over := make(chan struct{})
	killed := false
	var watch sync.WaitGroup
	watch.Go(func() {
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for stopped := 0; stopped < stoppedLooks; {
			select {
			case <-over:
				return
			case <-look.C:
			}
			if stopped++; !procstat.Stopped(p.Pid) {
				stopped = 0
			}
		}
		killed = p.Kill() == nil
	})
	return func() bool {
		close(over)
		watch.Wait()
		return killed
	}
}
