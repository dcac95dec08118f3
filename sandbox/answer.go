// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

const (
	// answerTakes is how long a monitor has for an answer that waits for nothing
	// else: the command that asked ends after that, whatever a sandbox does.
	answerTakes = 9 * time.Second
	// A monitor that is seen to be stopped this often, one look after the other,
	// is not going to answer.
	stoppedLooks = 4
	lookEvery    = 500 * time.Millisecond
)

// UnansweredError reports a monitor that lives and does not answer.
type UnansweredError struct {
	Name    string
	PID     int  // of the monitor
	Stopped bool // by SIGSTOP
	After   time.Duration
	// Err is why it cannot be asked at all, if it cannot.
	Err error
}

func (e *UnansweredError) Error() string {
	what := fmt.Sprintf("has not answered within %v", e.After)
	switch {
	case e.Err != nil:
		what = "cannot be reached: " + e.Err.Error()
	case e.Stopped:
		what = "is stopped"
	}
	return fmt.Sprintf("the monitor of %s, process %d, %s", e.Name, e.PID, what)
}

func (e *UnansweredError) Unwrap() error { return e.Err }

// Hint says how to go on without an answer.
func (e *UnansweredError) Hint() string {
	hint := "Stop and remove the sandbox with: cpc rm -f " + e.Name
	if e.Stopped {
		return fmt.Sprintf("Continue the monitor with: kill -CONT %d\n%s", e.PID, hint)
	}
	return hint
}

// patience closes a session's connection when there is no more point in waiting
// for its monitor, and says why.
type patience struct {
	over chan struct{}
	once sync.Once

	mu  sync.Mutex // guards why
	why error
}

// end has patience do nothing from now on.
func (p *patience) end() {
	if p != nil {
		p.once.Do(func() { close(p.over) })
	}
}

func (p *patience) reason() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

// bePatient ends the session's connection when ctx is done, when its monitor is
// stopped, and after limit, unless that is 0.
func (s *Session) bePatient(ctx context.Context, pid int, limit time.Duration) {
	p := &patience{over: make(chan struct{})}
	s.patience = p
	go func() {
		err := p.watch(ctx, s.Name, pid, limit)
		if err == nil {
			return
		}
		p.mu.Lock()
		p.why = err
		p.mu.Unlock()
		_ = s.conn.Close()
	}()
}

// watch returns nil once patience has ended.
func (p *patience) watch(ctx context.Context, name string, pid int, limit time.Duration) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	for stopped := 0; ; {
		select {
		case <-p.over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return &UnansweredError{Name: name, PID: pid, After: limit}
		case <-look.C:
		}
		if !procstat.Stopped(pid) {
			stopped = 0
		} else if stopped++; stopped >= stoppedLooks {
			return &UnansweredError{Name: name, PID: pid, Stopped: true}
		}
	}
}

// brokenOff says why a session's connection has ended.
func (s *Session) brokenOff() error {
	if why := s.patience.reason(); why != nil {
		return why
	}
	return ErrMonitorGone
}

// unanswered says why a request has got no answer; err is of the connection.
func (s *Session) unanswered(e *Engine, err error) error {
	if why := s.patience.reason(); why != nil {
		return why
	}
	return errors.Join(e.whyGone(s.ID), err)
}

// killMonitor kills the monitor of a sandbox, and with it, as it is the first
// process of its pid namespace, all of the sandbox. That process is the one that
// has the sandbox's lock open: its pid alone may have become another's.
func killMonitor(entry *record.Entry) error {
	pid := entry.Record.MonitorPID
	if pid <= 0 {
		return fmt.Errorf("kill the monitor of %s: its process is not known", entry.Record.Name)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("kill the monitor of %s: %w", entry.Record.Name, err)
	}
	defer unix.Close(fd)
	if !hasOpen(pid, entry.LockFile()) {
		return fmt.Errorf("kill the monitor of %s: process %d is another", entry.Record.Name, pid)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill the monitor of %s: %w", entry.Record.Name, err)
	}
	return nil
}

// hasOpen reports whether the process has the file open.
func hasOpen(pid int, file string) bool {
	var want unix.Stat_t
	if unix.Stat(file, &want) != nil {
		return false
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, link := range links {
		var got unix.Stat_t
		if unix.Stat(link, &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino {
			return true
		}
	}
	return false
}
