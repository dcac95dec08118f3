// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// ErrNotRunning reports that the sandbox has ended.
var ErrNotRunning = hint.New("sandbox is not running",
	"See how the sandbox ended with: cpc inspect NAME")

// open sends a request to a sandbox's monitor. The connection ends with ctx, and
// when there is no more point in waiting for an answer (patience).
func (e *Engine) open(ctx context.Context, name string, req wire.RequestBody) (*Session, error) {
	entry, err := e.Set.Find(name)
	if err != nil {
		return nil, err
	}
	r := entry.Record
	if r.Status == record.Exited {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, name)
	}
	c, err := entry.Dial()
	if err != nil {
		if !errors.Is(err, record.ErrSocket) || !entry.Attended() { // the monitor may just be ending
			if gone := e.whyGone(r.ID); gone != nil {
				return nil, fmt.Errorf("%w: %s", gone, name)
			}
		}
		return nil, &UnansweredError{Name: r.Name, PID: r.MonitorPID, Err: err}
	}
	s := &Session{ID: r.ID, Name: r.Name, conn: wire.New(c), entry: entry}
	s.bePatient(ctx, r.MonitorPID, limitOf(req))
	req.By = journal.Who()
	if err := s.conn.WriteJSON(wire.Request, req); err != nil {
		_ = s.Close() // it ends at this moment, or has ended
		if gone := e.whyGone(r.ID); gone != nil {
			return nil, fmt.Errorf("%w: %s", gone, name)
		}
		return nil, err
	}
	return s, nil
}

// limitOf is how long a request may go unanswered; 0 is for ever. To wait takes as
// long as the program does, and to stop until the monitor kills it.
func limitOf(req wire.RequestBody) time.Duration {
	if req.Op == wire.OpWait || req.Op == wire.OpStop && req.Timeout < 0 {
		return 0
	}
	if req.Op == wire.OpStop {
		return time.Duration(req.Timeout)*time.Second + answerTakes
	}
	return answerTakes
}

// deathTakes is how long a monitor that was killed may hold on to its lock
// after its connections have closed: the kernel takes its mounts down between.
const deathTakes = 5 * time.Second

// whyGone says why a monitor does not answer: ErrNotRunning when it has done
// its work, ErrMonitorGone when it died before, nil when it lives.
func (e *Engine) whyGone(id string) error {
	for deadline := time.Now().Add(deathTakes); ; time.Sleep(2 * time.Millisecond) {
		entry, err := e.Set.Find(id)
		switch {
		case errors.Is(err, record.ErrNotFound), err == nil && entry.Record.Status == record.Exited:
			return ErrNotRunning
		case err != nil || !entry.Attended():
			return ErrMonitorGone
		case time.Now().After(deadline):
			return nil
		}
	}
}

// SweepDead is Sweep once the monitor of this sandbox, which no longer answers,
// has gone altogether.
func (e *Engine) SweepDead(id string) error {
	why := e.whyGone(id)
	switch {
	case why == nil:
		return fmt.Errorf("sandbox %s: its monitor has let go of it, but has not ended within %v", record.Short(id), deathTakes)
	case errors.Is(why, ErrMonitorGone):
		return e.Sweep()
	}
	return nil
}

// Attach connects to the program of a running sandbox.
func (e *Engine) Attach(ctx context.Context, name string, size *wire.Size) (*Session, error) {
	return e.stream(ctx, name, wire.RequestBody{Op: wire.OpAttach, Size: size})
}

// Exec starts a further program in a running sandbox.
func (e *Engine) Exec(ctx context.Context, name string, req wire.ExecRequest, stdin bool, size *wire.Size) (*Session, error) {
	return e.stream(ctx, name, wire.RequestBody{Op: wire.OpExec, Exec: &req, Stdin: stdin, Size: size})
}

// Export writes the root file system of a running sandbox as a tar.
func (e *Engine) Export(ctx context.Context, name string, w io.Writer) error {
	s, err := e.stream(ctx, name, wire.RequestBody{Op: wire.OpExport})
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	_, err = s.receive(Streams{Out: w}, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (e *Engine) stream(ctx context.Context, name string, req wire.RequestBody) (*Session, error) {
	s, err := e.open(ctx, name, req)
	if err != nil {
		return nil, err
	}
	if err := s.awaitStart(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Signal sends a signal to the sandbox's program.
func (e *Engine) Signal(ctx context.Context, name string, sig unix.Signal) error {
	return e.ask(ctx, "kill", name, wire.RequestBody{Op: wire.OpSignal, Signal: int(sig)})
}

// Stop asks the sandbox's program to end with its stop signal, kills it after
// timeout seconds (never, if negative), and returns when all is taken down.
func (e *Engine) Stop(ctx context.Context, name string, sig unix.Signal, timeout int) error {
	s, err := e.open(ctx, name, wire.RequestBody{Op: wire.OpStop, Signal: int(sig), Timeout: timeout})
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err = s.receive(Streams{}, nil); err == nil {
		err = s.AwaitEnd()
	} else if errors.Is(err, ErrMonitorGone) && errors.Is(e.whyGone(s.ID), ErrNotRunning) {
		return nil // it was ending already when we asked
	}
	return err
}

// Wait returns how the sandbox ended, once it has.
func (e *Engine) Wait(ctx context.Context, name string) (wire.ExitBody, error) {
	entry, err := e.Set.Find(name)
	if err != nil {
		return wire.ExitBody{}, err
	}
	id := entry.Record.ID
	if exit, ok := outcome(entry.Record); ok {
		return exit, nil
	}
	exit, err := e.awaitExit(ctx, id)
	if err == nil {
		return exit, nil
	}
	if errors.Is(err, ErrMonitorGone) {
		err = errors.Join(err, e.SweepDead(id)) // which makes the record final
	}
	// It may have ended after we looked and before we asked.
	if entry, findErr := e.Set.Find(id); findErr == nil {
		if exit, ok := outcome(entry.Record); ok {
			return exit, nil
		}
	}
	return exit, err
}

func outcome(r *record.Record) (exit wire.ExitBody, ended bool) {
	return wire.ExitBody{Code: r.Outcome.ExitCode, Reason: r.Outcome.Reason}, r.Status == record.Exited
}

func (e *Engine) awaitExit(ctx context.Context, id string) (wire.ExitBody, error) {
	s, err := e.open(ctx, id, wire.RequestBody{Op: wire.OpWait})
	if err != nil {
		return wire.ExitBody{}, err
	}
	defer s.Close()
	return s.receive(Streams{}, nil)
}

// ErrRunning reports that a sandbox has to end before it can be removed.
var ErrRunning = hint.New("sandbox is running",
	"Stop it first with: cpc stop NAME. Or stop and remove it with: cpc rm -f NAME")

// Remove removes what is known of a sandbox that has ended. With force a
// running one is killed first, and one that does not exist is no error. A
// monitor that does not answer is killed too, and cleaned up after.
func (e *Engine) Remove(ctx context.Context, name string, force bool) error {
	entry, err := e.Set.Find(name)
	if errors.Is(err, record.ErrNotFound) && force {
		return nil
	}
	if err != nil {
		return err
	}
	id := entry.Record.ID
	if entry.Record.Status != record.Exited {
		if !force {
			return fmt.Errorf("%w: %s", ErrRunning, name)
		}
		err := e.Stop(ctx, id, unix.SIGKILL, 0)
		if _, unanswered := errors.AsType[*UnansweredError](err); unanswered {
			err = killMonitor(entry)
		}
		if err != nil && !errors.Is(err, ErrMonitorGone) && !errors.Is(err, ErrNotRunning) && !errors.Is(err, record.ErrNotFound) {
			return err
		}
		if err := e.SweepDead(id); err != nil {
			return err
		}
	}
	if err := entry.Delete(); err != nil {
		return err
	}
	return journal.Common(e.Set).Append(journal.New(entry.Record, "destroy", map[string]string{journal.By: journal.Who()}))
}
