// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Session is a connection to a program in a sandbox.
type Session struct {
	ID   string
	Name string
	PID  int // of the program, as the host counts
	TTY  bool
	// MonitorPID is the process that looks after the sandbox; 0 in a session
	// that Run did not return.
	MonitorPID int
	// Notes are weaker guarantees of this host that a person should know of.
	Notes []string

	conn     *wire.Conn
	entry    *record.Entry
	patience *patience                            // while an answer is waited for; or nil
	busy     func(what string, done, total int64) // may be nil

	// Bundle is the config.json of a dry run, in which nothing is started.
	Bundle json.RawMessage
}

// Streams are what a session is connected to. Nil streams are not.
type Streams struct {
	In         io.Reader
	Out, Err   io.Writer
	DetachKeys []byte
	Resize     <-chan wire.ResizeBody
	Signals    <-chan Signal
}

// Signal is one that this process was sent.
type Signal struct {
	Number unix.Signal
	Pass   bool // to the program
	Leave  bool // end the session
}

// insist is the how-manieth SIGINT or SIGTERM ends the session, whatever the
// program makes of it: as with docker.
const insist = 3

// SignalError reports that a signal ended the session.
type SignalError struct {
	Signal unix.Signal
	// Insisted: it was passed on to the program before, which has not ended.
	Insisted bool
}

func (e *SignalError) Error() string { return "ended by signal: " + e.Signal.String() }

// ErrMonitorGone reports that the monitor died; the sandbox died with it.
var ErrMonitorGone = hint.New("the sandbox's monitor has died, and the sandbox with it",
	"The next command removes the remains of the sandbox, for example: cpc ps -a")

// ErrCutOff reports that the monitor let go of a client that took no output for
// too long. The sandbox goes on.
var ErrCutOff = hint.New("this client did not read its output for too long and was disconnected; the sandbox is still running",
	"Attach again with: cpc attach SANDBOX. See the output in between with: cpc logs SANDBOX")

// ErrDetached reports that the person typed the detach keys.
var ErrDetached = errors.New("detached")

// awaitStart reads up to the message that the program runs.
func (s *Session) awaitStart() error {
	for {
		t, payload, err := s.conn.ReadFrame()
		if err != nil {
			return s.brokenOff()
		}
		switch t {
		case wire.Busy:
			var b wire.BusyBody
			if err := wire.Decode(t, payload, &b); err != nil {
				return err
			}
			if s.busy != nil {
				s.busy(b.What, b.Done, b.Total)
			}
		case wire.Started:
			var b wire.StartedBody
			if err := wire.Decode(t, payload, &b); err != nil {
				return err
			}
			s.PID, s.TTY = b.PID, b.TTY
			s.patience.end()
			s.Notes = append(s.Notes, b.Notes...)
			return nil
		case wire.Reply:
			var b wire.ReplyBody
			err := wire.Decode(t, payload, &b)
			s.Bundle = b.State
			return err
		case wire.Failure:
			return failure(payload)
		default:
			return fmt.Errorf("unexpected %q frame from the monitor", byte(t))
		}
	}
}

func failure(payload []byte) error {
	var f wire.FailureBody
	if err := wire.Decode(wire.Failure, payload, &f); err != nil {
		return err
	}
	return &f
}

// Close lets go of the connection. On a session that Run returned for a
// sandbox that is not detached this ends the sandbox.
func (s *Session) Close() error {
	s.patience.end()
	return s.conn.Close()
}

// Stream connects the streams until the program ends, and returns how it did.
// The error is ErrDetached when the person left, a SignalError when a signal
// ended the session, ErrCutOff when the monitor let go of this client, and
// ErrMonitorGone when it died.
func (s *Session) Stream(st Streams) (wire.ExitBody, error) {
	d := &departure{why: make(chan error, 2)} // from input and from events
	stop := make(chan struct{})
	defer close(stop)
	taken := make(chan struct{}, wire.StdinFrames)
	go s.sendInput(st, taken, d)
	go s.sendEvents(st, stop, d)

	type result struct {
		exit wire.ExitBody
		err  error
	}
	over := make(chan result, 1)
	go func() {
		exit, err := s.receive(st, taken)
		over <- result{exit, err}
	}()
	select {
	case r := <-over:
		switch {
		case !errors.Is(r.err, ErrMonitorGone):
		case d.begun.Load(): // a monitor that is told of a detachment closes the connection
			return wire.ExitBody{}, <-d.why
		case s.monitorLives():
			return wire.ExitBody{}, ErrCutOff
		}
		return r.exit, r.err
	case err := <-d.why:
		return wire.ExitBody{}, err
	}
}

// monitorLives reports whether the monitor is there, although the connection has
// ended. A session of Run does not ask: its monitor does not let go of it.
func (s *Session) monitorLives() bool {
	return s.MonitorPID == 0 && s.entry.Attended() && !s.entry.Dying()
}

// departure is how a client leaves while the program runs.
type departure struct {
	begun atomic.Bool // before the monitor is told
	why   chan error  // after that
}

// sendInput passes typed bytes on, as the program takes them, until the detach
// keys come.
func (s *Session) sendInput(st Streams, taken <-chan struct{}, leave *departure) {
	if st.In == nil {
		return
	}
	detacher := terminal.Detacher{Keys: st.DetachKeys}
	buf := make([]byte, wire.ChunkSize)
	free := wire.StdinFrames
	send := func(t wire.Type, p []byte) error {
		if free == 0 {
			<-taken
			free++
		}
		free--
		return s.conn.WriteFrame(t, p)
	}
	for {
		n, err := st.In.Read(buf)
		pass, detach := detacher.Feed(buf[:n])
		if len(pass) > 0 && send(wire.Stdin, pass) != nil {
			return
		}
		if detach {
			leave.begun.Store(true)
			_ = s.conn.WriteFrame(wire.Detach, nil)
			leave.why <- ErrDetached
			return
		}
		if err != nil {
			_ = send(wire.StdinEOF, nil)
			return
		}
	}
}

// sendEvents passes sizes and signals on. It waits for no monitor, so that the
// person can always leave: what a monitor does not take is dropped.
func (s *Session) sendEvents(st Streams, stop <-chan struct{}, leave *departure) {
	type event struct {
		kind wire.Type
		body any
	}
	out := make(chan event, 16)
	defer close(out)
	go func() {
		for e := range out {
			_ = s.conn.WriteJSON(e.kind, e.body) // its end is noticed where it is read from
		}
	}()
	send := func(kind wire.Type, body any) {
		select {
		case out <- event{kind, body}:
		default:
		}
	}
	for asked := 0; ; {
		select {
		case size := <-st.Resize:
			send(wire.Resize, size)
		case sig := <-st.Signals:
			if sig.Number == unix.SIGINT || sig.Number == unix.SIGTERM {
				asked++
			}
			insisted := sig.Pass && asked >= insist
			if sig.Pass && !insisted {
				send(wire.Signal, int(sig.Number))
			}
			if sig.Leave || insisted {
				leave.why <- &SignalError{Signal: sig.Number, Insisted: insisted}
				return
			}
		case <-stop:
			return
		}
	}
}

// receive passes output on until the exit message, and tells of input taken.
func (s *Session) receive(st Streams, taken chan<- struct{}) (wire.ExitBody, error) {
	var exit wire.ExitBody
	for {
		t, payload, err := s.conn.ReadFrame()
		if err != nil {
			return exit, s.brokenOff()
		}
		switch t {
		case wire.Stdout:
			err = writeAll(st.Out, payload)
		case wire.Stderr:
			err = writeAll(st.Err, payload)
		case wire.Taken:
			select {
			case taken <- struct{}{}:
			default: // more than there is room for is more than was sent
			}
		case wire.Exit:
			return exit, wire.Decode(t, payload, &exit)
		case wire.Failure:
			return exit, failure(payload)
		default:
			err = fmt.Errorf("unexpected %q frame from the monitor", byte(t))
		}
		if err != nil {
			return exit, err
		}
	}
}

func writeAll(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// AwaitEnd returns when the monitor has let go of the connection, which it
// does when nothing of the sandbox is left. The error is that of patience.
func (s *Session) AwaitEnd() error {
	for {
		if _, _, err := s.conn.ReadFrame(); err != nil {
			return s.patience.reason()
		}
	}
}
