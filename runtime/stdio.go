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
	forward  string     // and goes on to this one, if not ""
	received chan received
	master   *os.File
	terminal *os.File // the caller's terminal
	saved    *term.State
	copied   chan struct{} // closed when all output has been copied
}

// received is the terminal's master, or why there is none.
type received struct {
	master *os.File
	err    error
}

// useTerminal prepares for a terminal of the process's own that is joined to
// the caller's.
func (s *stdio) useTerminal(p *libcontainer.Process) error {
	s.terminal = callersTerminal()
	if s.terminal == nil {
		return errors.New("the process wants a terminal, but there is none: use --console-socket and detach")
	}
	if err := s.useSocketpair(p); err != nil {
		return err
	}
	s.received = make(chan received, 1)
	go func() { s.received <- s.receiveMaster() }() // before the program writes to it
	return nil
}

// useSocketpair has the terminal's master come here.
func (s *stdio) useSocketpair(p *libcontainer.Process) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.receive = os.NewFile(uintptr(pair[0]), "console")
	p.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
	s.passed = append(s.passed, p.ConsoleSocket)
	return nil
}

// receiveMaster waits for the master. Where output does not go to the caller's
// terminal, newlines are not to be made into what a terminal needs.
func (s *stdio) receiveMaster() received {
	master, err := receiveFile(s.receive)
	if err != nil || term.IsTerminal(int(os.Stdout.Fd())) {
		return received{master, err}
	}
	t, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.ONLCR
		err = unix.IoctlSetTermios(int(master.Fd()), unix.TCSETS, t)
	}
	return received{master, err}
}

// callersTerminal finds the terminal this process is used from: also where all
// of its streams lead elsewhere.
func callersTerminal() *os.File {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if term.IsTerminal(int(f.Fd())) {
			return f
		}
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return f
}

// started is called when the process runs: it drops what was handed over and
// begins to copy.
func (s *stdio) started() error {
	for _, f := range s.passed {
		_ = f.Close() // ignored: a descriptor that was only passed on
	}
	s.passed = nil
	switch {
	case s.receive == nil:
		return nil
	case s.forward != "":
		return s.forwardMaster()
	}
	r := <-s.received
	s.master = r.master
	if r.err != nil {
		return fmt.Errorf("receive terminal: %w", r.err)
	}
	s.resize()
	var err error
	if s.saved, err = term.MakeRaw(int(s.terminal.Fd())); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	s.copied = make(chan struct{})
	go func() { _, _ = io.Copy(s.master, os.Stdin) }() // ends with this process
	go func() {
		defer close(s.copied)
		_, _ = io.Copy(os.Stdout, s.master) // EIO is the end of a terminal
	}()
	return nil
}

// useConsoleSocket has the terminal's master go to the caller's socket, which is
// connected to when the process is there: conmon gives up at a connection that
// ends without a master, and then nobody reads why it could not be started.
func (s *stdio) useConsoleSocket(p *libcontainer.Process, path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		err = fmt.Errorf("%s: not a socket", path)
	}
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	s.forward = path
	return s.useSocketpair(p)
}

// forwardMaster hands the master on to the caller's console socket.
func (s *stdio) forwardMaster() error {
	master, err := receiveFile(s.receive)
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	s.master = master // for close, where this fails
	to, err := dialConsole(s.forward)
	if err != nil {
		return err
	}
	err = unix.Sendmsg(int(to.Fd()), []byte(master.Name()), unix.UnixRights(int(master.Fd())), nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return errors.Join(fmt.Errorf("console socket: %w", os.NewSyscallError("sendmsg", err)), to.Close())
	}
	s.master, s.receive, err = nil, nil, errors.Join(to.Close(), master.Close(), s.receive.Close())
	return err
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
