// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package reaper is a sandbox's pid 1 in front of the user's program: it
// starts the program in a process group of its own, in the foreground of the
// terminal if there is one, passes signals on to it, collects orphans, and
// exits as the program does.
//
// It runs inside of the sandbox, as the sandbox's user and under its seccomp
// profile, and is as untrusted as everything there: nothing outside relies on
// it. The kernel ends the whole sandbox with it.
package reaper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

const (
	notFound      = 127
	notExecutable = 126
)

// Main runs the command behind an optional "--" and returns the exit status:
// the command's, 128+n when signal n ended it, 127 when there is no such
// command, 126 when it cannot be executed, 2 for wrong usage.
func Main(args []string) int {
	goruntime.GOMAXPROCS(1)  // few threads: they count against the sandbox's pids
	debug.SetGCPercent(1000) // hardly anything is allocated
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "cpc-runtime: reaper: usage: cpc-runtime reaper -- COMMAND [ARG...]")
		return 2
	}
	signals := make(chan os.Signal, 128)
	signal.Notify(signals)
	pid, err := start(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cpc-runtime: reaper: %s\n", visible.Error(err))
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, errMissing) {
			return notFound
		}
		return notExecutable
	}
	return supervise(pid, signals)
}

// errMissing is the lack of the command's file, not of its interpreter.
var errMissing = errors.New("no such file or directory")

// start executes the command in a foreground process group of its own.
func start(args []string) (int, error) {
	path, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrDot) {
		err = nil // PATH is the user's to choose
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("exec %q: %w", args[0], errMissing)
	}
	if err != nil {
		return 0, err
	}
	attr := &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &unix.SysProcAttr{Setpgid: true},
	}
	if tty, ok := terminal(); ok {
		attr.Sys.Foreground, attr.Sys.Ctty = true, tty
	}
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return 0, fmt.Errorf("exec %q: %w", args[0], errors.Unwrap(err))
	}
	return p.Pid, nil
}

// terminal returns a standard descriptor that is this session's terminal.
func terminal() (fd int, ok bool) {
	for fd := range 3 {
		if _, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil {
			return fd, true
		}
	}
	return 0, false
}

// supervise passes signals on until the command has ended.
func supervise(pid int, signals <-chan os.Signal) int {
	for {
		if status, done := reap(pid); done {
			return status
		}
		switch sig := <-signals; sig {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU:
			// Children; the Go scheduler; and what only concerns this process.
		default:
			if s, ok := sig.(unix.Signal); ok {
				_ = unix.Kill(pid, s) // it may just have ended, which reap sees
			}
		}
	}
}

// reap collects every child that has ended, and says whether pid has.
func reap(pid int) (status int, done bool) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return status, done
		}
		if got != pid {
			continue
		}
		status, done = ws.ExitStatus(), true
		if ws.Signaled() {
			status = 128 + int(ws.Signal())
		}
	}
}
