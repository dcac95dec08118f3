// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

var errEnded = errors.New("the sandbox has ended")

// execs counts the further programs, so that none begins once the sandbox is
// being taken down, and that is not done before the last has been reported.
type execs struct {
	wg sync.WaitGroup

	mu    sync.Mutex // guards what follows
	count int
	ended bool
	// clients are those of programs that have ended, which have not read everything yet.
	clients []*sink
}

func (e *execs) begin() (n int, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return 0, false
	}
	e.count++
	e.wg.Add(1)
	return e.count, true
}

// follow adds a client whose program has ended, until it has taken everything.
func (e *execs) follow(s *sink) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients = slices.DeleteFunc(e.clients, (*sink).finished)
	e.clients = append(e.clients, s)
}

// end returns when every further program's end has been noted. No client can
// put that off: at the sandbox's end nothing waits for one.
func (e *execs) end() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.wg.Wait()
}

// linger returns when every client has taken everything, or is gone.
func (e *execs) linger(hurry <-chan struct{}) {
	e.mu.Lock()
	clients := e.clients
	e.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range clients {
		wg.Go(func() { s.linger(hurry) })
	}
	wg.Wait()
}

// session is one further program in the sandbox.
type session struct {
	m      *monitor
	name   string // of its file in the sandbox's directory, and what events call it
	proc   proc
	out    *fanout
	exited chan struct{}
	// What the limits had done when it began, and what the network refuses from
	// then on.
	hits    cgroups.Hits
	refused *network.Refusals
}

// serveExec starts a further program and stays until it ends or, detached,
// until it has started.
func (m *monitor) serveExec(c *wire.Conn, req wire.RequestBody) error {
	if req.Exec == nil || len(req.Exec.Args) == 0 {
		return errBadRequest
	}
	if m.history.paused() {
		return ErrPaused
	}
	n, ok := m.execs.begin()
	if !ok {
		return errEnded
	}
	s := &session{m: m, name: fmt.Sprintf("exec-%d", n), out: &fanout{ended: m.program.exited}, exited: make(chan struct{})}
	s.hits, s.refused = m.limits.begun(), m.outlet.watch()
	if err := s.start(req); err != nil {
		m.outlet.unwatch(s.refused)
		m.execs.wg.Done()
		return m.limits.blameStart(err, s.hits)
	}
	hostPID, err := m.machine.hostPID(s.proc.PID())
	if err != nil {
		hostPID = 0 // it has ended already; its exit status is still to be had
	}
	about := attributes{"execID": s.name}.by(req.By)
	m.history.note("exec_create: "+commandLine(req.Exec.Args), about)
	m.history.note("exec_start: "+commandLine(req.Exec.Args), about)
	err = c.WriteJSON(wire.Started, wire.StartedBody{PID: hostPID, TTY: req.Exec.TTY})
	if req.Exec.Detach {
		go s.finish()
		return nil
	}
	if err != nil { // the client is gone already
		go s.hangup()
		s.finish()
		return nil //nolint:nilerr // there is nobody to tell
	}
	client := s.out.attach(c, false)
	go s.input(c)
	s.finish()
	<-client.done // the connection is closed after that
	return nil
}

// input passes the client's frames on. A client that is gone takes its
// program with it; one that detached leaves it running, its output unread.
func (s *session) input(c *wire.Conn) {
	if serveStream(c, s.proc, s.signal) {
		s.out.detach(c)
		return
	}
	s.hangup()
}

// signal passes on what a client was sent. What a terminal sends to all processes
// in its foreground, and what ends a program, goes to its process group: a shell
// that waits for a command ends only when that does.
func (s *session) signal(sig unix.Signal) {
	group := []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGCONT, unix.SIGWINCH}
	if slices.Contains(group, sig) {
		s.proc.SignalGroup(sig)
		return
	}
	_ = s.proc.Signal(sig)
}

// hangup ends the program as the end of its terminal would, and makes sure.
// Its process group goes with it: what a shell runs in the foreground. A
// program that took care to leave that group, as a daemon does, stays.
func (s *session) hangup() {
	s.proc.SignalGroup(unix.SIGHUP)
	s.proc.EndInput()
	select {
	case <-s.exited:
	case <-time.After(hangupGrace):
		s.proc.SignalGroup(unix.SIGKILL)
	}
}

// finish passes the program's output on, waits for it, and reports its end.
func (s *session) finish() {
	defer s.m.execs.wg.Done()
	status := make(chan unix.WaitStatus, 1)
	go func() {
		st := s.proc.Wait()
		close(s.exited)
		status <- st
		// What it left in the background may have its terminal or pipes open
		// for ever; nobody who waits for this program waits for that.
		s.proc.Expire()
	}()
	s.proc.Pump(s.exited, s.m.limits.paced(s.exited, s.out.write))
	st := <-status
	s.proc.Close()
	s.m.history.note("exec_die", attributes{"execID": s.name, "exitCode": strconv.Itoa(process.ExitCode(st))})
	s.m.outlet.unwatch(s.refused)
	end := wire.ExitBody{Code: process.ExitCode(st), Reason: s.m.limits.since(s.hits, st), Refusals: s.refused.List()}
	for _, client := range s.out.end() {
		s.m.execs.follow(client)
		client.end(end)
	}
}

func (s *session) start(req wire.RequestBody) error {
	spec, user, err := s.m.execProcess(req.Exec)
	if err != nil {
		return err
	}
	if req.Exec.TTY {
		spec.ConsoleSize = &specs.Box{} // none, and the runtime need not wait for one
		if req.Size != nil {            // in time for the program's first look
			*spec.ConsoleSize = specs.Box{Height: uint(req.Size.Rows), Width: uint(req.Size.Cols)}
		}
	}
	file := filepath.Join(s.m.history.entry.Dir, s.name)
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := ownfile.Write(file, raw); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	defer os.Remove(file)
	streams := process.Streams{TTY: req.Exec.TTY, Stdin: req.Stdin}
	streams.UID, streams.GID = process.CallerIDs(s.m.input.Mapping, user)
	s.proc, err = s.m.program.oci.Exec(s.m.program.alive, s.name, streams)
	return err
}

// execProcess is the sandbox's own process with another command.
func (m *monitor) execProcess(req *wire.ExecRequest) (*specs.Process, bundle.ResolvedUser, error) {
	user := m.input.User
	if req.User != "" {
		var err error
		if user, err = m.resolveUser(req.User); err != nil {
			return nil, user, err
		}
	}
	p, err := bundle.Exec(m.input, bundle.ExecOptions{
		Args: req.Args, Env: req.Env, Workdir: req.Workdir, TTY: req.TTY, User: user,
		Terminal: bundle.KnownTerminal(m.root.path, bundle.Terminal{Term: req.Term, ColorTerm: req.ColorTerm}),
	})
	return p, user, err
}
