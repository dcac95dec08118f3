// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
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
	keys  []byte // that detach
	proxy bool   // pass signals on to the program
}

// connect connects the session to this process's standard streams until it
// ends. The terminal is as it was when connect returns, however that is.
func connect(_ context.Context, s *sandbox.Session, c connection) (wire.ExitBody, error) {
	st := sandbox.Streams{Out: os.Stdout, Err: os.Stderr}
	if c.stdin {
		st.In = os.Stdin
	}
	if s.TTY && c.stdin && terminal.Is(os.Stdin) {
		restore, err := terminal.Raw(os.Stdin)
		if err != nil {
			return wire.ExitBody{}, err
		}
		defer restore()
		st.DetachKeys = c.keys
	}
	stop := make(chan struct{})
	defer close(stop)
	if s.TTY {
		st.Resize = resizes(stop)
	}
	if c.proxy {
		st.Signals = signals(s.TTY, stop)
	}
	exit, err := s.Stream(st)
	if err != nil && s.TTY {
		_, _ = io.WriteString(os.Stderr, "\r\n")
	}
	return exit, err
}

// resizes reports the terminal's size each time it changes.
func resizes(stop <-chan struct{}) <-chan wire.Size {
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, unix.SIGWINCH)
	out := make(chan wire.Size)
	go func() {
		defer signal.Stop(winch)
		for {
			select {
			case <-stop:
				return
			case <-winch:
			}
			rows, cols, ok := terminal.Size(os.Stdin, os.Stdout, os.Stderr)
			if !ok {
				continue
			}
			select {
			case out <- wire.Size{Rows: rows, Cols: cols}:
			case <-stop:
				return
			}
		}
	}()
	return out
}

// signals reports what this process is sent, to be sent to the program. With
// a terminal, Ctrl-C is a byte and does not come here.
func signals(tty bool, stop <-chan struct{}) <-chan int {
	in := make(chan os.Signal, 16)
	list := []os.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}
	signal.Notify(in, list...)
	out := make(chan int)
	go func() {
		defer signal.Stop(in)
		for {
			select {
			case <-stop:
				return
			case s := <-in:
				n, ok := s.(unix.Signal)
				if !ok {
					continue
				}
				if tty && n == unix.SIGHUP {
					// Our terminal is gone; a shell in the sandbox ends as it
					// would have at the end of its own.
					fmt.Fprintln(os.Stderr, "cpc: terminal closed")
				}
				select {
				case out <- int(n):
				case <-stop:
					return
				}
			}
		}
	}()
	return out
}
