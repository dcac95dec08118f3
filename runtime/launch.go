// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/runtime/enter"
)

// launch is one process about to be started in a container.
type launch struct {
	container *libcontainer.Container
	dir       string // of the container's state
	spec      *specs.Process
	options   CreateOptions
	cgroups   map[string]string // sub-cgroups of an exec
	init      bool
	detach    bool
	subreaper bool
	release   bool    // a first process, once its terminal and pid file are there
	plan      planner // of a first process, if it may go the quick way
	reason    error   // why it went the long way
	links     bool    // and must not, as libcontainer makes none
}

// starter is one of libcontainer's ways to start a process.
type starter func(*libcontainer.Container, *libcontainer.Process) error

// start starts the process and writes the pid file. When it fails, the process
// is gone.
func (l *launch) start(how starter) (*supervisor, error) {
	if err := errors.Join(l.checkTerminal(), checkPidFile(l.options.PidFile)); err != nil {
		return nil, err
	}
	p, err := newProcess(l.spec)
	if err != nil {
		return nil, err
	}
	p.Init = l.init
	p.SubCgroupPaths = l.cgroups
	if err := l.passFDs(p); err != nil {
		return nil, err
	}
	s := &supervisor{process: p}
	if !l.detach {
		if err := s.listen(l.subreaper); err != nil {
			return nil, err
		}
	}
	stdio, err := l.attach(p)
	if err != nil {
		return nil, err
	}
	s.stdio = stdio
	if err := l.begin(how, p); err != nil {
		stdio.close()
		return nil, err
	}
	if err := stdio.started(); err != nil {
		s.abandon()
		return nil, err
	}
	if err := s.writePidFile(l.options.PidFile); err != nil || !l.release {
		return s, err
	}
	pid, err := p.Pid()
	if err == nil {
		err = release(l.dir, pid)
	}
	if err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// begin starts the process. Where a plan fails the error is of ReasonPlanFailed.
func (l *launch) begin(how starter, p *libcontainer.Process) error {
	file, err := l.planFile(p)
	if file == nil && l.links {
		return errCopySymlink
	}
	if file == nil {
		if err != nil && l.reason == nil {
			l.reason = err
		}
		stdio := ownersOfStdio()
		defer stdio.restore()
		l.setHome(p)
		return commandError(l.spec.Args[0], how(l.container, p))
	}
	defer func() { _ = file.Close() }()
	enter.Pass(p, file)
	if err = how(l.container, p); err == nil {
		return nil
	}
	if config := l.container.Config(); hooksMayHaveRun(&config, err) {
		return commandError(l.spec.Args[0], notFound(l.spec.Args[0], err)) // to start anew would run them twice
	}
	return longWayError{ReasonPlanFailed, err}
}

// hooksMayHaveRun says whether a start came so far. They run while libcontainer
// talks to init, whose errors, and its own by then, are said to be of that.
func hooksMayHaveRun(config *configs.Config, err error) bool {
	return config.HasHook(configs.Prestart, configs.CreateRuntime) &&
		strings.Contains(err.Error(), "error during container init: ") && !strings.Contains(err.Error(), enter.BeforeHooks)
}

// planFile returns nil if the process must go the long way, and why if it may
// have gone the other.
func (l *launch) planFile(p *libcontainer.Process) (*os.File, error) {
	if l.plan == nil {
		return nil, nil
	}
	plan, err := l.plan(p)
	if err != nil {
		return nil, err
	}
	return plan.File() // where it fails, libcontainer says what is wrong
}

func (l *launch) checkTerminal() error {
	switch {
	case l.options.ConsoleSocket == "" && l.detach && l.spec.Terminal:
		return errors.New("a detached process with a terminal needs --console-socket")
	case l.options.ConsoleSocket != "" && !l.spec.Terminal:
		return errors.New("--console-socket: the process has no terminal")
	case l.options.ConsoleSocket != "" && !l.detach:
		return errors.New("--console-socket: only for a detached process")
	}
	return nil
}

// attach connects the process's stdio, and its pidfd if asked for. A quick way may
// yet fail, and attach be called again.
func (l *launch) attach(p *libcontainer.Process) (*stdio, error) {
	s := &stdio{}
	if path := l.options.PidfdSocket; path != "" {
		sock, err := dial(path)
		if err != nil {
			return nil, fmt.Errorf("pidfd socket: %w", err)
		}
		s.passed = append(s.passed, sock)
		p.PidfdSocket = sock
	}
	var err error
	switch {
	case !l.spec.Terminal:
		p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
	case l.detach:
		if l.init {
			err = s.useConsoleSocket(p, l.options.ConsoleSocket)
		} else if p.ConsoleSocket, err = dialConsole(l.options.ConsoleSocket); err == nil {
			s.passed = append(s.passed, p.ConsoleSocket)
		}
	default:
		err = s.useTerminal(p)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// dialConsole connects to a console socket.
func dialConsole(path string) (*os.File, error) {
	socket, err := dial(path)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", err)
	}
	return socket, nil
}

// dial connects to a unix stream socket. A path that is too long for a socket
// address is reached through its directory's descriptor.
func dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	sock := os.NewFile(uintptr(fd), path)
	address := path
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(err, sock.Close())
		}
		defer func() { _ = dir.Close() }()
		address = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return nil, errors.Join(&os.PathError{Op: "connect", Path: path, Err: err}, sock.Close())
	}
	return sock, nil
}

// makeAbs makes a path independent of the working directory; "" stays "".
func makeAbs(path *string) (err error) {
	if *path != "" {
		*path, err = filepath.Abs(*path)
	}
	return err
}
