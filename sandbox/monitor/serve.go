// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// hangupGrace is how long a program has to end after its owner is gone.
const hangupGrace = time.Second

// serveOwner handles the connection of the cpc that started the sandbox. If it
// breaks off without a Detach, nobody is there any more: the sandbox ends.
func (m *monitor) serveOwner() {
	if m.task.Detached {
		return
	}
	if serveStream(m.owner, m.io, m.pass) {
		m.out.detach(m.owner)
		return
	}
	select {
	case <-m.exited:
		return
	default:
	}
	_ = m.signal(unix.SIGHUP)
	select {
	case <-m.exited:
	case <-time.After(hangupGrace):
		m.kill("killed: the terminal or client that it belonged to is gone")
	}
}

// serveSignals ends the sandbox when the monitor is told to end, as at the
// shutdown of the host. Other signals are not for it.
func (m *monitor) serveSignals() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	for s := range told {
		if s == unix.SIGTERM {
			m.kill("killed: its monitor was told to end")
		}
	}
}

// serve accepts connections on the control socket until the monitor ends.
func (m *monitor) serve() {
	for {
		c, err := m.listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			conn := wire.New(c)
			keep, err := m.handle(conn)
			if err != nil {
				code, hint := m.explain(err)
				_ = conn.WriteJSON(wire.Failure, wire.FailureBody{Code: code, Message: visible.Error(err), Hint: hint})
			}
			if !keep {
				_ = conn.Close()
			}
		}()
	}
}

var errBadRequest = errors.New("malformed request on the control socket")

// handle serves one connection. It reports whether the connection is still in
// use when it returns.
func (m *monitor) handle(c *wire.Conn) (keep bool, err error) {
	t, payload, err := c.ReadFrame()
	if err != nil {
		return false, nil //nolint:nilerr // whoever it was has left
	}
	var req wire.RequestBody
	if t != wire.Request || wire.Decode(t, payload, &req) != nil {
		return false, errBadRequest
	}
	switch req.Op {
	case wire.OpAttach:
		return m.serveAttach(c, req)
	case wire.OpExec:
		return false, m.serveExec(c, req)
	case wire.OpExport:
		return false, m.serveExport(c)
	case wire.OpWait:
		return m.addWaiter(c), nil
	case wire.OpSignal:
		if unix.Signal(req.Signal) == unix.SIGKILL {
			m.order()
		}
		if err := m.signal(unix.Signal(req.Signal)); err != nil {
			return false, err
		}
		m.note("kill", attributes{"signal": strconv.Itoa(req.Signal)})
		return false, c.WriteJSON(wire.Reply, wire.ReplyBody{})
	case wire.OpNet:
		if req.Net == nil {
			return false, errBadRequest
		}
		return false, m.serveNet(c, *req.Net)
	case wire.OpStop:
		return m.serveStop(c, req), nil
	case wire.OpUpdate:
		return false, m.serveUpdate(c, req)
	case wire.OpPause, wire.OpUnpause:
		return false, m.servePause(c, req.Op == wire.OpPause)
	}
	return false, fmt.Errorf("%w: operation %q", errBadRequest, req.Op)
}

// serveAttach connects a further client to the sandbox's program.
func (m *monitor) serveAttach(c *wire.Conn, req wire.RequestBody) (keep bool, err error) {
	m.mu.Lock()
	started := wire.StartedBody{PID: m.entry.Record.PID, TTY: m.entry.Record.Settings.TTY}
	paused := m.entry.Record.Status == record.Paused
	m.mu.Unlock()
	if paused {
		return false, ErrPaused
	}
	if err := c.WriteJSON(wire.Started, started); err != nil {
		return false, nil // whoever it was has left
	}
	draw := &redraw{window: m.io}
	if req.Size != nil && started.TTY {
		draw.begin()
	}
	if !m.out.attach(c, true) {
		return m.addWaiter(c), nil
	}
	m.note("attach", nil)
	if req.Size != nil && started.TTY {
		m.io.Resize(*req.Size)
		left := make(chan struct{})
		defer close(left)
		go draw.insist(left)
	}
	serveStream(c, m.io, m.pass)
	m.out.detach(c)
	return false, nil
}

// addWaiter keeps a connection for the exit message. It reports false when
// the message has been sent already.
func (m *monitor) addWaiter(c *wire.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.finished {
		o := m.entry.Record.Outcome
		_ = c.WriteJSON(wire.Exit, wire.ExitBody{Code: o.ExitCode, Reason: o.Reason})
		return false
	}
	m.waiters = append(m.waiters, c)
	return true
}

// serveStop asks the program to end, and after the timeout makes it end.
func (m *monitor) serveStop(c *wire.Conn, req wire.RequestBody) (keep bool) {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.order()
	_ = m.signal(unix.Signal(req.Signal))
	m.note("kill", attributes{"signal": strconv.Itoa(req.Signal)})
	if req.Timeout >= 0 {
		select {
		case <-m.exited: // not the end of its output, which it may close at any time
		case <-time.After(time.Duration(req.Timeout) * time.Second):
			_ = m.signal(unix.SIGKILL)
			m.note("kill", attributes{"signal": strconv.Itoa(int(unix.SIGKILL))})
		}
	}
	return m.addWaiter(c)
}
