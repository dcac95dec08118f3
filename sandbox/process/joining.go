// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// A process that a runtime has join a sandbox can be stopped by the sandbox's
// root, before it is what it is to become: then the runtime waits for ever, and
// when it is killed, that process stays. cpc-runtime looks for that itself, and
// sooner; this is for all runtimes.
const (
	joinTakes  = 4 * time.Second // that a process may be seen to be stopped
	lookAtJoin = 500 * time.Millisecond
)

// joining is what a runtime has started while it runs.
type joining struct {
	takes   time.Duration
	kill    func() // the runtime, and thereby all of it
	stopped atomic.Bool

	mu     sync.Mutex // guards killed
	killed []int
}

// watch calls kill when one of the runtime's descendants stays stopped, until the
// returned function is called.
func (j *joining) watch(runtime int) (stop func()) {
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(lookAtJoin)
		defer look.Stop()
		since := map[int]time.Time{}
		for {
			select {
			case <-over:
				return
			case <-look.C:
			}
			for _, pid := range descendants(runtime) {
				if !procstat.Stopped(pid) {
					delete(since, pid)
				} else if since[pid].IsZero() {
					since[pid] = time.Now()
				} else if time.Since(since[pid]) > j.takes {
					j.stopped.Store(true)
					j.kill()
					return
				}
			}
		}
	})
	return func() {
		close(over)
		watching.Wait()
	}
}

// killAll kills the runtime and all that it has started.
func (j *joining) killAll(runtime int) error {
	all := descendants(runtime)
	err := unix.Kill(runtime, unix.SIGKILL)
	for _, pid := range all {
		_ = unix.Kill(pid, unix.SIGKILL) // one that has ended meanwhile is not reaped before its parent has
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.killed = append(j.killed, all...)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// reap has what killAll has killed waited for: where this process is the first of
// its pid namespace, that are its children now. One that is frozen ends later.
func (j *joining) reap() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, pid := range j.killed {
		go reap(pid)
	}
}

// descendants are those of a process, its children first.
func descendants(pid int) (all []int) {
	const most = 64 // a runtime has a handful
	for next := []int{pid}; len(next) > 0 && len(all) < most; next = next[1:] {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", next[0]))
		if err != nil {
			return all
		}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err != nil {
				continue // that thread has ended
			}
			for field := range strings.FieldsSeq(string(text)) {
				if child, err := strconv.Atoi(field); err == nil {
					all, next = append(all, child), append(next, child)
				}
			}
		}
	}
	return all
}
