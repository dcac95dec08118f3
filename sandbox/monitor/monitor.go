// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Explain turns an error into what a person is told: the exit status of the
// command that asked, and what to do next.
type Explain func(error) (code int, hint string)

// errDryRun ends a start that was only to plan.
var errDryRun = errors.New("dry run")

// monitor is one sandbox being looked after.
type monitor struct {
	task    Task
	entry   *record.Entry
	explain Explain

	hostProc *os.File
	listener *net.UnixListener
	owner    *wire.Conn

	store   *rootfs.Store
	mounted *rootfs.Mounted
	oci     *process.Runtime
	io      *process.Stdio
	out     *fanout
	outlet  outlet
	budget  *cpubudget.Budget // of the processor time for network and output
	pid     int               // of the sandbox's init, in this pid namespace
	pidfd   int

	alive   context.Context // done when init is gone
	exited  <-chan struct{} // its Done
	die     context.CancelFunc
	drained chan struct{}   // closed when all output has been queued for its clients
	hurry   context.Context // done when somebody has ended the sandbox
	order   context.CancelFunc
	cleanup []func() error // undone in reverse order
	config  []byte         // config.json

	endWatch func() // stops looking for violations of limits
	appArmor string // profile, "" for none
	labels   confine.Labels
	disk     *bundle.Disk
	notes    []string     // for the person who started it
	input    bundle.Input // what the sandbox, and each exec, is planned from
	execs    execs
	noted    bool // that the sandbox was made
	refused  network.Refusals

	changing sync.Mutex // held while limits or the freezer are changed, before mu
	mu       sync.Mutex // guards the record and the plan from here on, and what follows
	reason   string
	stopped  bool // by cpc stop
	waiters  []*wire.Conn
	finished bool
}

// Main is the monitor process. It returns its exit status.
func Main(explain Explain) int {
	var t Task
	if err := handoff.Receive(Role, &t); err != nil {
		fmt.Fprintf(os.Stderr, "cpc monitor: %s\nThe monitor is started by cpc run.\n", visible.Error(err))
		return 125
	}
	m := newMonitor(t, explain)
	if err := m.adopt(); err != nil {
		fmt.Fprintf(os.Stderr, "cpc monitor: %s\n", visible.Error(err))
		return 125
	}
	m.run()
	return 0
}

func newMonitor(t Task, explain Explain) *monitor {
	m := &monitor{task: t, explain: explain, pidfd: -1, drained: make(chan struct{}), endWatch: func() {}}
	m.alive, m.die = context.WithCancel(context.Background())
	m.exited = m.alive.Done()
	m.hurry, m.order = context.WithCancel(context.Background())
	return m
}

// adopt takes the inherited files into use.
func (m *monitor) adopt() error {
	m.entry = record.Set{Dirs: m.task.Dirs}.Entry(&m.task.Record)
	for fd := listenerFD; fd <= rangeFD; fd++ {
		unix.CloseOnExec(fd)
	}
	l, err := net.FileListener(os.NewFile(listenerFD, "control socket"))
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	c, err := net.FileConn(os.NewFile(ownerFD, "owner"))
	if err != nil {
		return fmt.Errorf("owner socket: %w", err)
	}
	m.owner = wire.New(c)
	var ok bool
	if m.listener, ok = l.(*net.UnixListener); !ok {
		return errors.New("control socket: not a unix socket")
	}
	return nil
}

func (m *monitor) run() {
	if err := m.start(); err != nil {
		m.abort(err)
		return
	}
	go m.serveOwner()
	go m.serve()
	go m.serveSignals()
	status := m.wait()
	m.finish(status)
}

// start brings the sandbox up to the point where its program runs.
func (m *monitor) start() (err error) {
	if m.hostProc, err = userns.Settle(m.task.Record.Mapping.Mode); err != nil {
		return err
	}
	if err := m.task.Plan.SettleInScope(); err != nil {
		return err
	}
	if err := m.prepareRoot(context.Background()); err != nil {
		return err
	}
	if m.task.DryRun {
		return errDryRun
	}
	if err := m.create(); err != nil {
		return err
	}
	return m.launch()
}

// launch lets the created container run and tells the owner.
func (m *monitor) launch() error {
	r := m.entry.Record
	hostPID, err := userns.HostPID(m.hostProc, m.pid)
	if err != nil {
		return err
	}
	if m.task.Size != nil {
		m.io.Resize(*m.task.Size)
	}
	if err := m.oci.Start(m.alive); err != nil {
		return err
	}
	if err := m.checkLabels(); err != nil {
		return err
	}
	m.mu.Lock()
	r.PID, r.Status, r.Started = hostPID, record.Running, time.Now().UTC()
	err = m.entry.Save()
	m.mu.Unlock()
	if err != nil {
		return err
	}
	// Output waits in its pipe until the owner has been told: the first frame
	// that it gets is this one.
	if err := m.owner.WriteJSON(wire.Started, wire.StartedBody{PID: hostPID, TTY: r.Settings.TTY, Notes: m.notes}); err != nil {
		return fmt.Errorf("tell the client: %w", err)
	}
	if !m.task.Detached {
		m.note("attach", nil)
		m.out.attach(m.owner, false)
	}
	m.note("start", nil)
	go func() {
		defer close(m.drained)
		m.io.Pump(m.exited, m.paced(m.exited, m.out.write))
	}()
	return nil
}

// wait returns when the sandbox's init has ended.
func (m *monitor) wait() unix.WaitStatus {
	defer m.die()
	return process.Reap(m.pid)
}

// finish takes everything down and tells everybody how it ended. Whoever waits
// for the end hears of it when nothing of the sandbox is left; who is still to
// read its output keeps only this process, and only while it reads.
func (m *monitor) finish(status unix.WaitStatus) {
	m.io.Expire() // all that could write is gone
	<-m.drained
	m.execs.end()
	m.endWatch()
	code := process.ExitCode(status)
	m.blamePids(code)
	m.noteEnd(code)
	err := m.undo()
	body := m.conclude(status, err)
	r := m.entry.Record
	if r.Settings.AutoRemove {
		err = errors.Join(err, m.entry.Delete())
		m.note("destroy", nil)
	} else {
		saved := m.entry.Save() // whatever could not be taken down
		err = errors.Join(err, saved)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cpc monitor: take down: %s\n", visible.Error(err))
	}
	m.tellEnd(body)
}

// tellTakes is how long whoever waits may take to hear of the end.
const tellTakes = time.Second

// tellEnd tells everybody how the sandbox ended, and returns when all have
// heard it.
func (m *monitor) tellEnd(body wire.ExitBody) {
	m.mu.Lock()
	m.finished = true
	waiters, clients := m.waiters, m.out.end()
	m.mu.Unlock()
	m.letGo()
	for _, c := range waiters {
		_ = c.SetWriteDeadline(time.Now().Add(tellTakes))
		_ = c.WriteJSON(wire.Exit, body)
		_ = c.Close()
	}
	var wg sync.WaitGroup
	for _, s := range clients {
		s.end(body)
		wg.Go(func() { s.linger(m.hurry.Done()) })
	}
	wg.Wait()
	m.execs.linger(m.hurry.Done())
}

// letGo gives up what says that this process looks after a sandbox.
func (m *monitor) letGo() {
	_ = m.listener.Close()
	_ = unix.Close(lockFD)
	if m.task.Record.Mapping.Mode == idmap.Root {
		_ = unix.Close(rangeFD)
	}
}

// conclude makes the record final.
func (m *monitor) conclude(status unix.WaitStatus, takedown error) wire.ExitBody {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.entry.Record
	r.Status, r.Finished, r.PID = record.Exited, time.Now().UTC(), 0
	r.Outcome.ExitCode, r.Outcome.Reason = process.ExitCode(status), m.reason
	if takedown != nil {
		r.Outcome.Error = takedown.Error()
	}
	return wire.ExitBody{Code: r.Outcome.ExitCode, Reason: r.Outcome.Reason, Refusals: m.refused.List()}
}

// abort undoes a start that did not succeed and reports why.
func (m *monitor) abort(cause error) {
	if m.pidfd >= 0 {
		_ = unix.PidfdSendSignal(m.pidfd, unix.SIGKILL, nil, 0)
		process.Reap(m.pid)
		m.die()
	}
	if errors.Is(cause, errDryRun) {
		if err := errors.Join(m.undo(), m.entry.Delete()); err == nil {
			_ = m.owner.WriteJSON(wire.Reply, wire.ReplyBody{State: m.config})
			return
		}
	}
	m.endWatch()
	cause = errors.Join(cause, m.undo(), m.entry.Delete())
	if m.noted {
		m.note("destroy", nil)
	}
	code, hint := m.explain(cause)
	_ = m.owner.WriteJSON(wire.Failure, wire.FailureBody{Code: code, Message: visible.Error(cause), Hint: hint})
}

// undo runs the cleanups, last first, and goes on after a failure.
func (m *monitor) undo() error {
	var err error
	for len(m.cleanup) > 0 {
		last := m.cleanup[len(m.cleanup)-1]
		m.cleanup = m.cleanup[:len(m.cleanup)-1]
		failed := last()
		err = errors.Join(err, failed)
	}
	return err
}

func (m *monitor) later(f func() error) { m.cleanup = append(m.cleanup, f) }

// kill ends the sandbox for a reason of ours, which goes on record.
func (m *monitor) kill(reason string) {
	m.order()
	m.blame(reason)
	_ = m.signal(unix.SIGKILL)
}

// blame puts the reason for the sandbox's end on record, if there is none yet.
func (m *monitor) blame(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reason == "" {
		m.reason = reason
	}
}

// pass is signal for a client that hears nothing of errors.
func (m *monitor) pass(s unix.Signal) { _ = m.signal(s) }

// signal sends a signal to the sandbox's init.
func (m *monitor) signal(s unix.Signal) error {
	select {
	case <-m.exited:
		return nil
	default:
	}
	err := unix.PidfdSendSignal(m.pidfd, s, nil, 0)
	// What is frozen would act on it some day; docker lets it go on at once.
	return errors.Join(err, m.thaw())
}
