// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
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
	if m.task.Record.Asked.Detach {
		return
	}
	p, owner := m.program, m.control.owner
	if serveStream(owner, p.proc, m.pass) {
		p.out.detach(owner)
		return
	}
	if p.ended() {
		return
	}
	_ = m.signal(unix.SIGHUP)
	select {
	case <-p.exited:
	case <-time.After(hangupGrace):
		m.kill("killed: the terminal or client that it belonged to is gone")
	}
}

// serveSignals ends the sandbox when the monitor is told to end, as at the
// shutdown of the host. Other signals are not for it.
func (m *monitor) serveSignals() {
	for s := range m.machine.signals() {
		if s == unix.SIGTERM {
			m.kill("killed: its monitor was told to end")
		}
	}
}

// serve serves one connection to the control socket.
func (m *monitor) serve(c *wire.Conn) {
	keep, err := m.handle(c)
	if err != nil {
		code, hint := m.explain(err)
		_ = c.WriteJSON(wire.Failure, wire.FailureBody{Code: code, Message: visible.Error(err), Hint: hint})
	}
	if !keep {
		_ = c.Close()
	}
}

var errBadRequest = errors.New("malformed request on the control socket")

// handle does what a connection asks for. It reports whether the connection is still in
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
	case wire.OpFiles:
		return false, m.serveFiles(c, req)
	case wire.OpWait:
		return m.control.addWaiter(c), nil
	case wire.OpSignal:
		if unix.Signal(req.Signal) == unix.SIGKILL {
			m.control.order()
		}
		if err := m.signal(unix.Signal(req.Signal)); err != nil {
			return false, err
		}
		m.history.note("kill", attributes{"signal": strconv.Itoa(req.Signal)}.by(req.By))
		return false, c.WriteJSON(wire.Reply, wire.ReplyBody{})
	case wire.OpNet:
		if req.Net == nil {
			return false, errBadRequest
		}
		return false, m.serveNet(c, *req.Net, req.By)
	case wire.OpStop:
		return m.serveStop(c, req), nil
	case wire.OpUpdate:
		return false, m.limits.serveUpdate(c, req)
	case wire.OpPause, wire.OpUnpause:
		return false, m.limits.servePause(c, req)
	}
	return false, fmt.Errorf("%w: operation %q", errBadRequest, req.Op)
}

// serveAttach connects a further client to the sandbox's program.
func (m *monitor) serveAttach(c *wire.Conn, req wire.RequestBody) (keep bool, err error) {
	p, r := m.program, m.history.record()
	if r.Status == record.Paused {
		return false, ErrPaused
	}
	tty := r.Asked.Options.TTY
	if err := c.WriteJSON(wire.Started, wire.StartedBody{PID: r.PID, TTY: tty}); err != nil {
		return false, nil // whoever it was has left
	}
	draw := &redraw{window: p.proc}
	if req.Size != nil && tty {
		draw.begin()
	}
	if p.out.attach(c, true) == nil {
		return m.control.addWaiter(c), nil
	}
	m.history.note("attach", attributes{}.by(req.By))
	if req.Size != nil && tty {
		p.proc.Resize(*req.Size)
		left := make(chan struct{})
		defer close(left)
		go draw.insist(left)
	}
	serveStream(c, p.proc, m.pass)
	p.out.detach(c)
	return false, nil
}

// serveStop asks the program to end, and after the timeout makes it end.
func (m *monitor) serveStop(c *wire.Conn, req wire.RequestBody) (keep bool) {
	m.history.stop(req.By)
	m.control.order()
	_ = m.signal(unix.Signal(req.Signal))
	m.history.note("kill", attributes{"signal": strconv.Itoa(req.Signal)}.by(req.By))
	if req.Timeout >= 0 {
		select {
		case <-m.program.exited: // not the end of its output, which it may close at any time
		case <-time.After(time.Duration(req.Timeout) * time.Second):
			_ = m.signal(unix.SIGKILL)
			m.history.note("kill", attributes{"signal": strconv.Itoa(int(unix.SIGKILL))}.by(req.By))
		}
	}
	return m.control.addWaiter(c)
}
