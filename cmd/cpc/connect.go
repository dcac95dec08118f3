// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
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
	keys  []byte   // that detach
	proxy bool     // pass signals on to the program
	left  string   // what becomes of the program when the person leaves all the same
	out   *os.File // for the program's output; nil is standard output
	err   *os.File // for its error output; nil is standard error
}

// endsSandbox is what becomes of a program that belongs to this process.
const endsSandbox = "the sandbox is ended"

// connect connects the session to this process's standard streams until it
// ends. The terminal is as it was when connect returns, however that is.
func (a sandboxCommands) connect(s *sandbox.Session, c connection) (wire.ExitBody, error) {
	st := sandbox.Streams{Out: os.Stdout, Err: os.Stderr}
	if c.out != nil {
		st.Out = c.out
	}
	if c.err != nil {
		st.Err = c.err
	}
	if c.stdin {
		st.In = os.Stdin
	}
	stop := make(chan struct{})
	defer close(stop)
	used := []*os.File{os.Stdout, os.Stderr}
	if c.stdin {
		used = append(used, os.Stdin)
	}
	st.Signals = signals(s.TTY, c.proxy, terminal.Lost(stop, used...), stop)
	defer a.ends.hold()() // from here on they are the session's
	again := func() {}
	if s.TTY && c.stdin && terminal.Is(os.Stdin) {
		var restore func()
		var err error
		restore, again, err = terminal.Raw(os.Stdin)
		if err != nil {
			return wire.ExitBody{}, err
		}
		defer restore()
		st.DetachKeys = c.keys
	}
	if s.TTY {
		st.Resize = resizes(again, stop)
	}
	exit, err := s.Stream(st)
	if errors.Is(err, unix.EPIPE) { // nobody reads our output
		return exit, &sandbox.SignalError{Signal: unix.SIGPIPE}
	}
	if err != nil && s.TTY {
		_, _ = io.WriteString(os.Stderr, "\r\n")
	}
	if sig, ok := errors.AsType[*sandbox.SignalError](err); ok && sig.Insisted {
		_, _ = fmt.Fprintf(stderr(), "cpc: the command was told to end and has not; %s\n", c.left)
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
// was started, and then each time it changes. When this process goes on after it
// was stopped, it calls again, and has the program draw anew.
func resizes(again func(), stop <-chan struct{}) <-chan wire.ResizeBody {
	in := make(chan os.Signal, 2)
	signal.Notify(in, unix.SIGWINCH, unix.SIGCONT)
	out := make(chan wire.ResizeBody)
	go func() {
		defer signal.Stop(in)
		for redraw := false; ; {
			if rows, cols, ok := terminal.Size(os.Stdin, os.Stdout, os.Stderr); ok {
				select {
				case out <- wire.ResizeBody{Size: wire.Size{Rows: rows, Cols: cols}, Redraw: redraw}:
				case <-stop:
					return
				}
			}
			select {
			case <-stop:
				return
			case s := <-in:
				if redraw = s == unix.SIGCONT; redraw {
					again()
				}
			}
		}
	}()
	return out
}

// signals reports what this process is sent. What a terminal's keys would send
// is passed on to the program if proxy says so. What ends a process at a
// terminal, such as that the terminal is gone, ends the session too: a shell
// ignores SIGTERM, and the terminal must be restored whatever the program does.
// So does a lost terminal, also where no signal says so (a session of its own, su -c).
// Until stop is closed no signal ends this process in raw mode.
func signals(tty, proxy bool, lost, stop <-chan struct{}) <-chan sandbox.Signal {
	in := make(chan os.Signal, 16)
	notify(in, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	if !tty { // a terminal's size is passed on as such, and what it shows after a stop
		notify(in, unix.SIGWINCH, unix.SIGCONT)
	}
	out := make(chan sandbox.Signal)
	go func() {
		defer signal.Stop(in)
		for {
			select {
			case <-stop:
				return
			case <-lost:
				lost = nil
				select {
				case out <- sandbox.Signal{Number: unix.SIGHUP, Leave: true}:
				case <-stop:
					return
				}
			case s := <-in:
				n, ok := s.(unix.Signal)
				if !ok || n == unix.SIGPIPE { // the write that caused it says so
					continue
				}
				final := tty && (n == unix.SIGTERM || n == unix.SIGHUP)
				harmless := n == unix.SIGWINCH || n == unix.SIGCONT
				select {
				case out <- sandbox.Signal{Number: n, Pass: proxy, Leave: final || !proxy && !harmless}:
				case <-stop:
					return
				}
			}
		}
	}()
	return out
}
