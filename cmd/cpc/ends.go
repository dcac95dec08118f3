// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How long a command has to come to its end after a signal. What it then leaves
// half done the next command finishes or undoes, as after a SIGKILL. The copy of
// cpc in U0 goes first, so that its parent can report its status.
const (
	endTakes       = 900 * time.Millisecond
	workerEndTakes = 600 * time.Millisecond
	// A second signal ends the command at once, unless it comes this soon: a
	// terminal and a parent both pass on the same one.
	sameSignal = 250 * time.Millisecond
)

// ends makes sure that a signal ends the command. The first one cancels ctx,
// which is the command's context; when the command does not end soon, or upon a
// second one, late says that the process is to exit without it.
type ends struct {
	ctx  context.Context //nolint:containedctx // it is what this type is about
	late chan struct{}

	first atomic.Int32 // the signal that came, or 0
	held  atomic.Int32 // sessions that pass signals on themselves
	stop  func()
}

// watchEnds begins to watch; the caller calls stop.
func watchEnds(takes time.Duration) *ends {
	ctx, cancel := context.WithCancel(context.Background())
	e := &ends{ctx: ctx, late: make(chan struct{})}
	in := make(chan os.Signal, 4)
	over := make(chan struct{})
	notify(in, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	e.stop = func() {
		signal.Stop(in)
		close(over)
		cancel()
	}
	go e.watch(in, over, cancel, takes)
	return e
}

func (e *ends) watch(in <-chan os.Signal, over <-chan struct{}, cancel func(), takes time.Duration) {
	var begun time.Time
	var late <-chan time.Time
	for {
		select {
		case <-over:
			return
		case s := <-in:
			n, ok := s.(unix.Signal)
			if !ok || e.held.Load() > 0 {
				continue
			}
			if late == nil {
				e.first.Store(int32(n)) //nolint:gosec // a signal's number
				cancel()
				begun, late = time.Now(), time.After(takes)
				continue
			}
			if time.Since(begun) > sameSignal {
				close(e.late)
				return
			}
		case <-late:
			close(e.late)
			return
		}
	}
}

// hold leaves signals to a session that passes them on, until release is called.
func (e *ends) hold() (release func()) {
	e.held.Add(1)
	return func() { e.held.Add(-1) }
}

// status is a shell's number for the signal that came, or 0.
func (e *ends) status() int {
	if n := e.first.Load(); n != 0 {
		return 128 + int(n)
	}
	return 0
}

// notify is signal.Notify, but SIGHUP stays ignored where it was at the start, as
// under nohup(1).
func notify(c chan<- os.Signal, signals ...unix.Signal) {
	for _, s := range signals {
		if s != unix.SIGHUP || !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// stdin is standard input. A read of it ends, with an error, when ctx is done.
func stdin(ctx context.Context) *stdinReader {
	r := &stdinReader{ctx: ctx, wake: -1}
	if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
		r.wake = fd
		context.AfterFunc(ctx, func() { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	}
	return r
}

type stdinReader struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to it
	wake int             // readable when ctx is done; -1: the file is read without
}

// Close implements io.Closer; standard input stays open.
func (*stdinReader) Close() error { return nil }

// Read implements io.Reader.
func (r *stdinReader) Read(p []byte) (int, error) {
	for r.wake >= 0 {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		fds := []unix.PollFd{{Fd: int32(unix.Stdin), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if fds[1].Revents == 0 {
			break
		}
	}
	return os.Stdin.Read(p)
}

// Seek implements io.Seeker, for a file that is redirected.
func (*stdinReader) Seek(offset int64, whence int) (int64, error) {
	return os.Stdin.Seek(offset, whence)
}

// Stat says what kind of file it is.
func (*stdinReader) Stat() (os.FileInfo, error) { return os.Stdin.Stat() }
