// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/process"
)

// struck is what the limits of memory and processes have done to the sandbox so far,
// for whoever wonders why a program failed.
type struck struct {
	mu   sync.Mutex // guards what follows
	hits cgroups.Hits
	oom  string        // the last kill, in words
	more chan struct{} // closed when that changes; nil: nobody waits
}

// note takes an event down.
func (s *struck) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// now is how often the limits have struck, and the last kill in words.
func (s *struck) now() (cgroups.Hits, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits, s.oom
}

// await returns when an event has told of so many kills, or after a while.
func (s *struck) await(kills uint64, patience time.Duration) {
	late := time.After(patience)
	for {
		s.mu.Lock()
		if s.hits.OOMKills >= kills {
			s.mu.Unlock()
			return
		}
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		select {
		case <-more:
		case <-late:
			return
		}
	}
}

// outOf says what ran out of memory: the program that the kernel chose, and what
// files in memory hold, which its end does not give back.
func outOf(limit int64, e cgroups.Event) string {
	text := "out of memory at the " + size(limit) + " limit"
	files := int64(min(e.Files, 1<<62)) //nolint:gosec // bounded
	who := ""
	if e.Victim != nil {
		who = strconv.Quote(e.Victim.Name)
	}
	switch {
	case limit > 0 && files >= limit/2:
		text += ": files in memory (/tmp, /dev/shm and other tmpfs mounts) hold " + size(files) + " of it"
		if who != "" {
			text += ", and " + who + " needed more"
		}
		return text
	case who != "":
		text += ", which " + who + " used up"
	}
	if files >= 1<<20 {
		text += "; files in memory hold " + size(files)
	}
	return text
}

// blame puts on record what a sandbox's program may have ended or failed for by the
// limits. ordered: somebody has ended the sandbox.
func (l *limits) blame(status unix.WaitStatus, ordered bool) {
	hits, oom := l.struck.now()
	if why := l.why(status, ordered, cgroups.Hits{}, hits, oom); why != "" {
		l.history.blame(why)
	}
}

// why says what the limits had to do with the end of a program, during which their
// hits went from one number to another.
func (l *limits) why(status unix.WaitStatus, ordered bool, from, to cgroups.Hits, oom string) string {
	code := process.ExitCode(status)
	ended := "failed after "
	if code == 0 {
		ended = "ended well, but "
	}
	pids := l.planned().Limits.Pids
	switch {
	case to.OOMKills > from.OOMKills && oom != "" && status.Signaled() && status.Signal() == unix.SIGKILL && !ordered:
		return "killed: " + oom
	case to.OOMKills > from.OOMKills && oom != "" && !ordered:
		return ended + "the kernel had killed a process: " + oom
	case to.PidsMax > from.PidsMax && pids > 0:
		return fmt.Sprintf("%sthe limit of %d processes had refused %d more", ended, pids, to.PidsMax-from.PidsMax)
	}
	return ""
}

// struckTakes is how long the watcher may take to tell of a kill that the kernel
// has counted: it looks once a second.
const struckTakes = 2 * time.Second

// begun is what the limits have done when a further program begins.
func (l *limits) begun() cgroups.Hits {
	plan := l.planned()
	if plan.Path == "" {
		return cgroups.Hits{}
	}
	return plan.Hits(l.program.proc.PID())
}

// since says what the limits had to do with the end of a further program.
func (l *limits) since(from cgroups.Hits, status unix.WaitStatus) string {
	to := l.begun()
	if to.OOMKills > from.OOMKills {
		l.struck.await(to.OOMKills, struckTakes)
	}
	told, oom := l.struck.now()
	// Of a sandbox that has ended with its command no counter is left.
	to.OOMKills, to.PidsMax = max(to.OOMKills, told.OOMKills), max(to.PidsMax, told.PidsMax)
	return l.why(status, false, from, to, oom)
}

// blameStart adds to the error of a further program that did not start what the limit
// of processes, to which those count that start it, had to do with that.
func (l *limits) blameStart(err error, from cgroups.Hits) error {
	limit := l.planned().Limits.Pids
	if limit == 0 || l.begun().PidsMax <= from.PidsMax {
		return err
	}
	return fmt.Errorf("%w (%d): %w", ErrNoRoom, limit, err)
}
