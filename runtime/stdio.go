// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// stdio is this side of a process's standard streams. Without a terminal
// there is nothing to do: the process has inherited them.
type stdio struct {
	passed   []*os.File // closed here once the process is started
	receive  *os.File   // the master comes through this socket
	master   *os.File
	terminal *os.File // the caller's terminal
	saved    *term.State
	copied   chan struct{} // closed when all output has been copied
}

// useTerminal prepares for a terminal of the process's own that is joined to
// the caller's.
func (s *stdio) useTerminal(p *libcontainer.Process) error {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if s.terminal == nil && term.IsTerminal(int(f.Fd())) {
			s.terminal = f
		}
	}
	if s.terminal == nil {
		return errors.New("the process wants a terminal, but there is none: use --console-socket and detach")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.receive = os.NewFile(uintptr(pair[0]), "console")
	p.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
	s.passed = append(s.passed, p.ConsoleSocket)
	return nil
}

// started is called when the process runs: it drops what was handed over and
// begins to copy.
func (s *stdio) started() error {
	for _, f := range s.passed {
		_ = f.Close() // ignored: a descriptor that was only passed on
	}
	s.passed = nil
	if s.receive == nil {
		return nil
	}
	master, err := receiveFile(s.receive)
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	s.master = master
	s.resize()
	if s.saved, err = term.MakeRaw(int(s.terminal.Fd())); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	s.copied = make(chan struct{})
	go func() { _, _ = io.Copy(master, os.Stdin) }() // ends with this process
	go func() {
		defer close(s.copied)
		_, _ = io.Copy(os.Stdout, master) // EIO is the end of a terminal
	}()
	return nil
}

// resize gives the process's terminal the size of the caller's.
func (s *stdio) resize() {
	if s.master == nil {
		return
	}
	// Errors are ignored: the caller's terminal may be gone, which a SIGHUP
	// will say better.
	if size, err := unix.IoctlGetWinsize(int(s.terminal.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// close waits for the last output and restores the caller's terminal.
func (s *stdio) close() {
	if s.copied != nil {
		<-s.copied
	}
	if s.saved != nil {
		_ = term.Restore(int(s.terminal.Fd()), s.saved)
	}
	for _, f := range append(s.passed, s.receive, s.master) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// receiveFile takes the one descriptor that a message carries.
func receiveFile(socket *os.File) (*os.File, error) {
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("message without a descriptor"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("message without a descriptor"), err)
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}
