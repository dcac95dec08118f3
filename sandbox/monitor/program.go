// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// ociRuntime is the OCI runtime with the sandbox's container, as programs need it.
type ociRuntime interface {
	// Create makes the container, up to but not including its program.
	Create(ctx context.Context, s process.Streams) (proc, error)
	// Start lets that program run.
	Start(ctx context.Context) error
	// Exec starts a further program, which the named file in the sandbox's
	// directory describes.
	Exec(ctx context.Context, file string, s process.Streams) (proc, error)
	Delete(ctx context.Context) error
	changer
}

// changer is the OCI runtime as limits need it.
type changer interface {
	// Update gives the container the resources in the named file in the sandbox's
	// directory.
	Update(ctx context.Context, file string) error
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
}

// proc is a process that the runtime has started, with its terminal or pipes:
// process.Program.
type proc interface {
	PID() int
	LongWay() string // why cpc-runtime has started it by libcontainer's own init
	Signal(s unix.Signal) error
	SignalGroup(s unix.Signal)
	Wait() unix.WaitStatus // once
	Close()
	input
	output
	window
}

// input is the way into a program.
type input interface {
	Input(p []byte) error
	EndInput()
}

// output is the way out of it.
type output interface {
	Pump(exited <-chan struct{}, write func(wire.Type, []byte))
	Expire()
}

// window is the size of a program's terminal.
type window interface {
	redrawn
	Resize(size wire.Size)
}

// realRuntime is an ociRuntime that is a program on this host.
type realRuntime struct{ *process.Runtime }

func (r realRuntime) Create(ctx context.Context, s process.Streams) (proc, error) {
	return orNil(r.Runtime.Create(ctx, s))
}

func (r realRuntime) Exec(ctx context.Context, file string, s process.Streams) (proc, error) {
	return orNil(r.Runtime.Exec(ctx, file, s))
}

func orNil(p *process.Program, err error) (proc, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// program is the sandbox's program, whose end is the sandbox's: the container, its
// init, and what it writes. open makes the container, close takes it down.
type program struct {
	oci  ociRuntime
	proc proc // nil until it was made
	out  *fanout

	alive   context.Context // done when init is gone
	exited  <-chan struct{} // its Done
	die     context.CancelFunc
	drained chan struct{} // closed when all output has been queued for its clients

	undo cleanups
}

func newProgram(oci ociRuntime) *program {
	p := &program{oci: oci, drained: make(chan struct{})}
	p.alive, p.die = context.WithCancel(context.Background())
	p.exited = p.alive.Done()
	p.out = &fanout{ended: p.exited}
	return p
}

// keepOutput has the output logged.
func (p *program) keepOutput(dir string) error {
	log, err := logfile.Create(dir)
	if err != nil {
		return err
	}
	p.out.log = log
	p.undo.later(log.Close)
	return nil
}

// open has the runtime make the container. Whether or not it can, close has it
// deleted, and then calls removeCgroup.
func (p *program) open(s process.Streams, removeCgroup func() error) (err error) {
	p.undo.later(func() error {
		if p.proc != nil {
			p.proc.Close()
		}
		return nil
	})
	p.undo.later(removeCgroup)
	p.undo.later(func() error { return p.oci.Delete(context.Background()) })
	p.proc, err = p.oci.Create(p.alive, s)
	return err
}

// pump passes the output on, by way of paced, until there will be no more.
func (p *program) pump(paced func(wire.Type, []byte)) {
	defer close(p.drained)
	p.proc.Pump(p.exited, paced)
}

// wait returns when the program has ended.
func (p *program) wait() unix.WaitStatus {
	defer p.die()
	return p.proc.Wait()
}

// ended reports whether the program has ended.
func (p *program) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// abandon ends a program whose sandbox could not be started.
func (p *program) abandon() {
	if p.proc != nil {
		_ = p.proc.Signal(unix.SIGKILL)
		p.wait()
	}
}

// close takes the container down. The program has ended, or never began.
func (p *program) close() error { return p.undo.run() }

// openProgram makes the container, up to but not including its program, with its
// limits and its network.
func (m *monitor) openProgram() error {
	o := m.task.options()
	m.program = newProgram(m.machine.runtime(&m.task, m.history.entry.Dir))
	if !o.NoLog {
		if err := m.program.keepOutput(m.history.entry.DataDir); err != nil {
			return err
		}
	}
	s := process.Streams{TTY: o.TTY, Stdin: m.task.Record.Asked.Stdin}
	s.UID, s.GID = process.CallerIDs(m.input.Mapping, m.input.User)
	m.history.noteCreate(m.task.By)
	if err := m.program.open(s, m.limits.removeCgroup); err != nil {
		return err
	}
	if err := m.limits.watch(m.program); err != nil {
		return err
	}
	return m.outlet.connect(m.program.proc.PID())
}

// kill ends the sandbox for a reason of ours, which goes on record.
func (m *monitor) kill(reason string) {
	m.control.order()
	m.history.blame(reason)
	_ = m.signal(unix.SIGKILL)
}

// pass is signal for a client that hears nothing of errors.
func (m *monitor) pass(s unix.Signal) { _ = m.signal(s) }

// signal sends a signal to the sandbox's init.
func (m *monitor) signal(s unix.Signal) error {
	if m.program.ended() {
		return nil
	}
	err := m.program.proc.Signal(s)
	// What is frozen would act on it some day; docker lets it go on at once.
	return errors.Join(err, m.limits.thaw())
}
