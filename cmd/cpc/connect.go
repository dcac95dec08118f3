// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// connection says how a session is connected to this process.
type connection struct {
	stdin bool
	keys  []byte   // that detach
	proxy bool     // pass signals on to the program
	out   *os.File // for the program's output; nil is standard output
}

// connect connects the session to this process's standard streams until it
// ends. The terminal is as it was when connect returns, however that is.
func (a *app) connect(s *sandbox.Session, c connection) (wire.ExitBody, error) {
	st := sandbox.Streams{Out: os.Stdout, Err: os.Stderr}
	if c.out != nil {
		st.Out = c.out
	}
	if c.stdin {
		st.In = os.Stdin
	}
	stop := make(chan struct{})
	defer close(stop)
	st.Signals = signals(s.TTY, c.proxy, stop)
	defer a.ends.hold()() // from here on they are the session's
	if s.TTY && c.stdin && terminal.Is(os.Stdin) {
		restore, err := terminal.Raw(os.Stdin)
		if err != nil {
			return wire.ExitBody{}, err
		}
		defer restore()
		st.DetachKeys = c.keys
	}
	if s.TTY {
		st.Resize = resizes(stop)
	}
	exit, err := s.Stream(st)
	if errors.Is(err, unix.EPIPE) { // nobody reads our output
		return exit, &sandbox.SignalError{Signal: unix.SIGPIPE}
	}
	if err != nil && s.TTY {
		_, _ = io.WriteString(os.Stderr, "\r\n")
	}
	return exit, err
}

// ended says what becomes of an error of connect: nothing when the person
// left, and a shell's status when a signal ended it.
func ended(err error) error {
	var sig *sandbox.SignalError
	switch {
	case errors.Is(err, sandbox.ErrDetached):
		return nil
	case errors.As(err, &sig):
		return exitStatus(128 + int(sig.Signal))
	}
	return err
}

// resizes reports the terminal's size, in case it changed while the program
// was started, and then each time it changes.
func resizes(stop <-chan struct{}) <-chan wire.Size {
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, unix.SIGWINCH)
	out := make(chan wire.Size)
	go func() {
		defer signal.Stop(winch)
		for {
			rows, cols, ok := terminal.Size(os.Stdin, os.Stdout, os.Stderr)
			if ok {
				select {
				case out <- wire.Size{Rows: rows, Cols: cols}:
				case <-stop:
					return
				}
			}
			select {
			case <-stop:
				return
			case <-winch:
			}
		}
	}()
	return out
}

// signals reports what this process is sent. What a terminal's keys would send
// is passed on to the program if proxy says so. What ends a process at a
// terminal, such as that the terminal is gone, ends the session too: a shell
// ignores SIGTERM, and the terminal must be restored whatever the program does.
// Until stop is closed no signal ends this process in raw mode.
func signals(tty, proxy bool, stop <-chan struct{}) <-chan sandbox.Signal {
	in := make(chan os.Signal, 16)
	signal.Notify(in, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	out := make(chan sandbox.Signal)
	go func() {
		defer signal.Stop(in)
		for {
			select {
			case <-stop:
				return
			case s := <-in:
				n, ok := s.(unix.Signal)
				if !ok || n == unix.SIGPIPE { // the write that caused it says so
					continue
				}
				final := tty && (n == unix.SIGTERM || n == unix.SIGHUP)
				select {
				case out <- sandbox.Signal{Number: n, Pass: proxy, Leave: final || !proxy}:
				case <-stop:
					return
				}
			}
		}
	}()
	return out
}
