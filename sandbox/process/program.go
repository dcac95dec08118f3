// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Streams says what a program is to have for its standard streams: a terminal, or
// pipes that belong to UID and GID, which are ids of this user namespace.
type Streams struct {
	TTY      bool
	Stdin    bool // without a terminal: a pipe, not the null device
	UID, GID int
}

// Program is a process that the runtime has started, a child of this one, with
// this process's side of its terminal or pipes. The caller calls Wait once, and
// Close at the end.
type Program struct {
	*Stdio
	pid     int
	longWay string

	mu    sync.Mutex // guards what follows
	pidfd int        // -1 once it has ended
}

// LongWay is why cpc-runtime has started it by libcontainer's own init; "" if it has
// not, or another runtime was at work.
func (p *Program) LongWay() string { return p.longWay }

// PID is the program's in this pid namespace.
func (p *Program) PID() int { return p.pid }

// Signal sends a signal to the program. One that has ended is no error.
func (p *Program) Signal(s unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	return unix.PidfdSendSignal(p.pidfd, s, nil, 0)
}

// SignalGroup sends a signal to the program's process group. Runtimes make the
// program the leader of a session of its own; where one does not, there is no such
// group, and the signal is for the program alone.
func (p *Program) SignalGroup(s unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd >= 0 && unix.Kill(-p.pid, s) != nil {
		_ = unix.PidfdSendSignal(p.pidfd, s, nil, 0)
	}
}

// Wait returns when the program has ended.
func (p *Program) Wait() unix.WaitStatus {
	status := reap(p.pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = unix.Close(p.pidfd)
	p.pidfd = -1
	return status
}

// start has the runtime start a program and takes its streams. Nothing is left of
// a program whose streams cannot be had. The console is the name of the socket, in
// the sandbox's directory, by which a terminal comes.
func (o *Runtime) start(s Streams, console string, run func(files [3]*os.File, console string) (pid int, err error)) (_ *Program, err error) {
	streams, err := newStdio(s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			streams.Close()
		}
	}()
	if !s.TTY {
		console = ""
	} else if err := streams.listenConsole(o.Dir, console); err != nil {
		streams.closeChild()
		return nil, err
	}
	pid, err := run(streams.child, console)
	streams.closeChild()
	if err != nil {
		return nil, err
	}
	p := &Program{Stdio: streams, pid: pid}
	if p.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		reap(pid)
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	if console == "" {
		return p, nil
	}
	if err := streams.takeConsole(); err != nil {
		_ = p.Signal(unix.SIGKILL)
		p.Wait()
		return nil, err
	}
	return p, nil
}

// Create makes the container of the bundle, up to but not including its program,
// and returns the container's init, which is to become that program.
func (o *Runtime) Create(ctx context.Context, s Streams) (*Program, error) {
	var told logged
	p, err := o.start(s, "console.sock", func(files [3]*os.File, console string) (_ int, err error) {
		args := []string{"create", "--bundle", "bundle", "--pid-file", pidFile}
		if console != "" {
			args = append(args, "--console-socket", o.consoleSocket(console))
		}
		if o.KeepKeyring {
			args = append(args, "--no-new-keyring")
		}
		if told, err = o.ran(ctx, files, append(args, o.ID)...); err != nil {
			return 0, err
		}
		return o.takePID(pidFile)
	})
	if p != nil {
		p.longWay = told.longWay
	}
	return p, err
}

// Exec starts a further program, described in the named file.
func (o *Runtime) Exec(ctx context.Context, process string, s Streams) (*Program, error) {
	socket := process + ".sock"
	p, err := o.start(s, socket, func(files [3]*os.File, console string) (int, error) {
		pidName := process + ".pid"
		args := []string{"exec", "--detach", "--process", process, "--pid-file", pidName}
		if console != "" {
			args = append(args, "--console-socket", o.consoleSocket(console))
		}
		if err := o.run(ctx, files, append(args, o.ID)...); err != nil {
			return 0, err
		}
		return o.takePID(pidName)
	})
	if s.TTY {
		_ = os.Remove(filepath.Join(o.Dir, socket)) // else it goes with the sandbox's directory
	}
	return p, err
}
