// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Explain turns an error into what a person is told: the exit status of the
// command that asked, and what to do next.
type Explain func(error) (code int, hint string)

// errDryRun ends a start that was only to plan.
var errDryRun = errors.New("dry run")

// monitor is one sandbox being looked after. Its parts are opened by start, in this
// order, and closed by takeDown.
type monitor struct {
	task    Task
	explain Explain
	machine machine
	history *history
	control *control

	root    *root
	limits  *limits
	outlet  *outlet
	input   bundle.Input // what the sandbox, and each exec, is planned from
	config  []byte       // config.json
	program *program
	execs   execs
}

// Main is the monitor process. It returns its exit status.
func Main(explain Explain) int {
	var t Task
	if err := handoff.Receive(Role, &t); err != nil {
		fmt.Fprintf(os.Stderr, "cpc monitor: %s\nThe monitor is started by cpc run.\n", visible.Error(err))
		return 125
	}
	t.Record.Asked.Network.Complete(t.Private)
	c, err := adopt(t.Record.Mapping.Mode)
	if err != nil {
		complain(err)
		return 125
	}
	newMonitor(t, c, &realMachine{}, explain).run()
	return 0
}

func newMonitor(t Task, c *control, on machine, explain Explain) *monitor {
	m := &monitor{task: t, explain: explain, machine: on, control: c}
	set := record.Set{Dirs: t.Dirs}
	m.history = &history{entry: set.Entry(&m.task.Record), common: journal.Common(set)}
	return m
}

func (m *monitor) run() {
	if err := m.start(); err != nil {
		m.abort(err)
		return
	}
	go m.serveOwner()
	go m.control.serve(m.serve)
	go m.serveSignals()
	m.finish(m.program.wait())
}

// start brings the sandbox up to the point where its program runs.
func (m *monitor) start() (err error) {
	if err := m.machine.settle(&m.task); err != nil {
		return err
	}
	if m.root, err = m.machine.openRoot(context.Background(), &m.task, tellUnpacking(m.control.owner)); err != nil {
		return err
	}
	m.limits = newLimits(m.task.Plan, m.history)
	if m.outlet, err = openOutlet(&m.task, m.history, m.limits.budget); err != nil {
		return err
	}
	if err := m.plan(); err != nil {
		return err
	}
	if m.task.DryRun {
		return errDryRun
	}
	if err := m.openProgram(); err != nil {
		return err
	}
	return m.launch()
}

// launch lets the created container run and tells the owner.
func (m *monitor) launch() error {
	p, owner := m.program, m.control.owner
	hostPID, err := m.machine.hostPID(p.proc.PID())
	if err != nil {
		return err
	}
	if m.task.Size != nil {
		p.proc.Resize(*m.task.Size)
	}
	if err := p.oci.Start(p.alive); err != nil {
		return err
	}
	// Nothing that the program does is passed on before that.
	if err := m.root.confine.check(p.proc.PID()); err != nil {
		return err
	}
	err = m.history.change(func(r *record.Record) {
		r.Applied.AppArmor, r.Applied.SELinux = m.root.confine.appArmor, m.root.confine.labels.Process
		r.Applied.LongWay = p.proc.LongWay()
		r.PID, r.Status, r.Started = hostPID, record.Running, time.Now().UTC()
	})
	if err != nil {
		return err
	}
	// Output waits in its pipe until the owner has been told: the first frame
	// that it gets is this one.
	if err := owner.WriteJSON(wire.Started, wire.StartedBody{PID: hostPID, TTY: m.task.options().TTY, Notes: m.root.notes}); err != nil {
		return fmt.Errorf("tell the client: %w", err)
	}
	if !m.task.Record.Asked.Detach {
		m.history.note("attach", attributes{}.by(m.task.By))
		p.out.attach(owner, false)
	}
	m.history.note("start", attributes{}.by(m.task.By))
	go p.pump(m.limits.paced(p.exited, p.out.write))
	return nil
}

// finish takes everything down and tells everybody how it ended. Whoever waits
// for the end hears of it when nothing of the sandbox is left; who is still to
// read its output keeps only this process, and only while it reads.
func (m *monitor) finish(status unix.WaitStatus) {
	m.program.proc.Expire() // all that could write is gone
	<-m.program.drained
	m.execs.end()
	m.limits.stop()
	code := process.ExitCode(status)
	m.limits.blame(status, m.control.ordered())
	m.history.noteEnd(code)
	err := m.takeDown()
	end := m.history.conclude(status, err)
	end.Refusals = m.outlet.refused.List()
	if err = m.history.close(err); err != nil {
		complain(fmt.Errorf("take down: %w", err))
	}
	m.control.tellEnd(end, m.program.out, &m.execs)
}

// abort undoes a start that did not succeed and reports why.
func (m *monitor) abort(cause error) {
	if m.program != nil {
		m.program.abandon()
	}
	if m.limits != nil {
		m.limits.stop()
	}
	err := m.takeDown()
	dropped := m.history.drop()
	err = errors.Join(err, dropped)
	m.control.close()
	if errors.Is(cause, errDryRun) && err == nil {
		_ = m.control.owner.WriteJSON(wire.Reply, wire.ReplyBody{State: m.config})
		return
	}
	cause = errors.Join(cause, err)
	m.history.noteDropped()
	code, hint := m.explain(cause)
	_ = m.control.owner.WriteJSON(wire.Failure, wire.FailureBody{Code: code, Message: visible.Error(cause), Hint: hint})
}

// takeDown closes what was opened, the last first, and goes on after a failure.
func (m *monitor) takeDown() error {
	var parts cleanups
	if m.root != nil {
		parts.later(m.root.close)
	}
	if m.outlet != nil {
		parts.later(m.outlet.close)
	}
	if m.program != nil {
		parts.later(m.program.close)
	}
	return parts.run()
}
