// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// errBroken is what a step fails with that a test has told to fail.
var errBroken = errors.New("broken by the test")

// fake is a machine and an OCI runtime that start nothing. It notes its calls.
type fake struct {
	fail    string        // the call that fails
	hold    string        // the call that waits for go
	release chan struct{} // closed by the test
	before  map[string]func()
	told    chan os.Signal
	init    *fakeProc
	exec    *fakeProc // what the next exec starts

	mu    sync.Mutex // guards calls
	calls []string
}

func (f *fake) call(name string) error {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	f.mu.Unlock()
	if do := f.before[name]; do != nil {
		do()
	}
	if f.hold == name {
		<-f.release
	}
	if f.fail == name {
		return errBroken
	}
	return nil
}

func (f *fake) called(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.calls, name)
}

func (f *fake) settle(*Task) error { return f.call("settle") }

func (f *fake) openRoot(_ context.Context, t *Task, _ func(rootfs.Event)) (*root, error) {
	if err := f.call("root"); err != nil {
		return nil, err
	}
	r := &root{path: t.Dirs.Data, stage: t.Dirs.State}
	r.undo.later(func() error { return f.call("close root") })
	return r, nil
}

func (f *fake) runtime(*Task, string) ociRuntime { return f }

func (f *fake) hostPID(pid int) (int, error) { return pid + 1000, f.call("host pid") }

func (f *fake) signals() <-chan os.Signal { return f.told }

func (f *fake) Create(context.Context, process.Streams) (proc, error) {
	if err := f.call("create"); err != nil {
		return nil, err
	}
	return f.init, nil
}

func (f *fake) Start(context.Context) error  { return f.call("start") }
func (f *fake) Delete(context.Context) error { return f.call("delete") }
func (f *fake) Pause(context.Context) error  { return f.call("pause") }
func (f *fake) Resume(context.Context) error { return f.call("resume") }

func (f *fake) Update(context.Context, string) error { return f.call("update") }

func (f *fake) Exec(context.Context, string, process.Streams) (proc, error) {
	if err := f.call("exec"); err != nil {
		return nil, err
	}
	return f.exec, nil
}

// fakeProc is a process that writes what a test has it write, and ends by SIGKILL
// or, if it is polite, by any signal.
type fakeProc struct {
	polite bool
	output chan []byte
	closed chan struct{}
	closes sync.Once

	mu      sync.Mutex // guards what follows
	signals []unix.Signal
	ended   chan struct{}
	status  unix.WaitStatus
	waited  int
}

func newFakeProc() *fakeProc {
	return &fakeProc{output: make(chan []byte), closed: make(chan struct{}), ended: make(chan struct{})}
}

func (p *fakeProc) PID() int { return 7 }

func (p *fakeProc) LongWay() string { return "" }

func (p *fakeProc) Signal(s unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return nil
	default:
	}
	p.signals = append(p.signals, s)
	if s == unix.SIGKILL || p.polite {
		p.end(unix.WaitStatus(s))
	}
	return nil
}

// end is for a caller that holds mu.
func (p *fakeProc) end(status unix.WaitStatus) {
	select {
	case <-p.ended:
	default:
		p.status = status
		close(p.ended)
	}
}

// exit ends the process by its own doing.
func (p *fakeProc) exit(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(unix.WaitStatus(code << 8))
}

func (p *fakeProc) got() []unix.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.signals)
}

func (p *fakeProc) SignalGroup(s unix.Signal) { _ = p.Signal(s) }

func (p *fakeProc) Wait() unix.WaitStatus {
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited++
	return p.status
}

func (p *fakeProc) Pump(_ <-chan struct{}, write func(wire.Type, []byte)) {
	for {
		select {
		case out := <-p.output:
			write(wire.Stdout, out)
		case <-p.closed:
			return
		}
	}
}

func (p *fakeProc) Expire()            { p.Close() }
func (p *fakeProc) Close()             { p.closes.Do(func() { close(p.closed) }) }
func (p *fakeProc) Input([]byte) error { return nil }
func (p *fakeProc) EndInput()          {}
func (p *fakeProc) Resize(wire.Size)   {}
func (p *fakeProc) Shrink()            {}
func (p *fakeProc) Restore()           {}
func (p *fakeProc) Written() int64     { return 0 }

// box is a monitor on a fake, and the client that started its sandbox.
type box struct {
	*fake
	m        *monitor
	listener *fakeListener
	owner    *wire.Conn
	unlocked bool
	over     chan struct{} // closed when the monitor has ended
}

// newBox prepares a sandbox without starting it. It is called outside of the
// bubble, and its files belong to t.
func newBox(t *testing.T, change func(*Task)) (set record.Set, task Task) {
	t.Helper()
	d := dirs.Dirs{Data: t.TempDir(), State: t.TempDir()}
	o := bundle.Defaults()
	o.Network, o.Seccomp, o.Args, o.User = bundle.NetworkNone, bundle.SeccompUnconfined, []string{"true"}, "0:0"
	set = record.Set{Dirs: d}
	task = Task{Dirs: d, Record: record.Record{
		ID: record.NewID(), Name: "box", Status: record.Created, Mapping: idmap.ForMapped(),
		Asked: record.Asked{Runtime: "fake", Options: o}, Applied: record.Applied{Hostname: "box"},
	}}
	if change != nil {
		change(&task)
	}
	_, lock, err := set.Add(&task.Record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	return set, task
}

// runBox has a monitor run, in the bubble.
func runBox(task Task, f *fake) *box {
	f.told, f.release, f.init, f.exec = make(chan os.Signal), make(chan struct{}), newFakeProc(), newFakeProc()
	ours, theirs := net.Pipe()
	b := &box{fake: f, listener: newFakeListener(), owner: wire.New(theirs), over: make(chan struct{})}
	c := newControl(b.listener, ours, func() { b.unlocked = true })
	b.m = newMonitor(task, c, f, func(error) (int, string) { return 125, "a hint" })
	go func() {
		defer close(b.over)
		b.m.run()
	}()
	return b
}

// end ends what is left of a test. A client that does not hang up keeps its monitor.
func (b *box) end() {
	_ = b.owner.Close()
	<-b.over
	close(b.told)
}

// started reads up to the message that the program runs.
func (b *box) started(t *testing.T) {
	t.Helper()
	if kind, p, err := b.owner.ReadFrame(); err != nil || kind != wire.Started {
		t.Fatalf("not started: %q %s %v", kind, p, err)
	}
}

// ask connects to the control socket and asks for something.
func (b *box) ask(t *testing.T, req wire.RequestBody) *wire.Conn {
	t.Helper()
	c, err := b.listener.dial()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.WriteJSON(wire.Request, req) }()
	return c
}

// exitOf reads frames up to the last.
func exitOf(c *wire.Conn) (exit wire.ExitBody, err error) {
	for {
		kind, p, err := c.ReadFrame()
		if err != nil {
			return exit, err
		}
		if kind == wire.Exit {
			return exit, wire.Decode(kind, p, &exit)
		}
	}
}

// actions are the events of a journal.
func actions(t *testing.T, j journal.Journal) (all []string) {
	t.Helper()
	if err := j.Read(func(e journal.Event) error { all = append(all, e.Action); return nil }); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// fakeListener is a control socket, which takes connections before anybody
// accepts them.
type fakeListener struct {
	queue  chan net.Conn
	closed chan struct{}
}

func newFakeListener() *fakeListener {
	return &fakeListener{queue: make(chan net.Conn, 16), closed: make(chan struct{})}
}

func (l *fakeListener) dial() (*wire.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case <-l.closed:
		return nil, unix.ECONNREFUSED
	default:
	}
	l.queue <- ours
	return wire.New(theirs), nil
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close resets, as the kernel does, the connections that nobody has accepted.
func (l *fakeListener) Close() error {
	close(l.closed)
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

func (l *fakeListener) Addr() net.Addr { return &net.UnixAddr{} }

// hour is longer than anything waits for, on the clock of a bubble.
const hour = time.Hour
