// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	"os/signal"
	"time"
	"unsafe"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// supervisor waits for a process in the foreground: it passes signals on,
// keeps the terminal's size, and reaps.
type supervisor struct {
	process process
	stdio   *stdio
	signals chan os.Signal
	shell   bool // a command that libcontainer's init cannot execute ends with 126
}

// listen must come before the process is started, or its SIGCHLD may be missed.
// Catching a signal takes the Go runtime two switches between threads, all 65 of
// them a millisecond: those that nobody sends to a container which is being made
// follow in wait.
func (s *supervisor) listen(subreaper bool) error {
	s.signals = make(chan os.Signal, 128)
	signal.Notify(s.signals, unix.SIGCHLD, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH)
	if !subreaper {
		return nil
	}
	return os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// notify lets the service manager know when the process is ready. Detached, it
// waits for that; otherwise this process stays, and is the one to watch.
func (s *supervisor) notify(n *notifier, detached bool) error {
	if n == nil {
		return nil
	}
	pid, err := s.process.Pid()
	if err != nil {
		return err
	}
	if detached {
		defer n.close()
		return n.forward(pid, pid)
	}
	go func() {
		defer n.close()
		if err := n.forward(pid, os.Getpid()); err != nil {
			logrus.Warn(err)
		}
	}()
	return nil
}

// wait returns the exit status of the process, 128+n when signal n ended it.
func (s *supervisor) wait() int {
	defer s.stdio.close()
	pid, err := s.process.Pid()
	if err != nil {
		return 255
	}
	if status, done := s.reap(pid); done {
		return status
	}
	time.AfterFunc(50*time.Millisecond, func() { signal.Notify(s.signals) }) // the rest
	for sig := range s.signals {
		switch sig {
		case unix.SIGCHLD:
			if status, done := s.reap(pid); done {
				return status
			}
		case unix.SIGWINCH:
			s.stdio.resize()
		case unix.SIGURG, unix.SIGPIPE:
			// The Go scheduler's and this process's own.
		default:
			if err := s.process.Signal(sig); err != nil {
				logrus.Warnf("forward %v: %v", sig, err)
			}
		}
	}
	return 255
}

// reap collects every child that has ended, and says whether pid has.
func (s *supervisor) reap(pid int) (status int, done bool) {
	for {
		next, refused := -1, false
		if s.shell {
			if next = ended(); next <= 0 {
				return status, done
			}
			refused = next == pid && diedAsInit(pid)
		}
		var ws unix.WaitStatus
		got, err := unix.Wait4(next, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return status, done
		}
		if got == pid {
			if status, done = exitStatus(ws), true; refused && status == 255 {
				status = 126
			}
		}
	}
}

// ended returns a child that has ended, and leaves it for wait; 0 if there is none.
func ended() int {
	var child struct { // siginfo_t of SIGCHLD on a 64-bit machine
		signo, errno, code, _, pid int32
		_                          [108]byte
	}
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&child)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(child.pid)
}

func exitStatus(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
