// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/terminal"
)

// stdio is this side of a process's standard streams. Without a terminal
// there is nothing to do: the process has inherited them.
type stdio struct {
	passed   []*os.File // closed here once the process is started
	receive  *os.File   // the master comes through this socket
	forward  string     // and goes on to this one, if not ""
	received chan received
	master   *os.File
	terminal *os.File      // the caller's terminal
	restore  func()        // gives it back its modes, if they were changed
	ended    chan struct{} // closed when the process has ended
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
	if err == nil {
		master, err = pollable(master)
	}
	if err != nil || terminal.Is(os.Stdout) {
		return received{master, err}
	}
	return received{master, control(master, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		t.Oflag &^= unix.ONLCR
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})}
}

// pollable returns a file whose reads can be given a deadline, as long as nobody
// asks for its descriptor by Fd.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return f, os.NewSyscallError("fcntl", err)
	}
	name := f.Name()
	if err = errors.Join(unix.SetNonblock(fd, true), f.Close()); err != nil {
		return os.NewFile(uintptr(fd), name), err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// control calls op with a file's descriptor, and leaves it pollable.
func control(f *os.File, op func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = op(int(fd)) })
	return errors.Join(cerr, err)
}

// callersTerminal finds the terminal this process is used from: also where all
// of its streams lead elsewhere.
func callersTerminal() *os.File {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if terminal.Is(f) {
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
	if s.restore, _, err = terminal.Raw(s.terminal); err != nil {
		return err
	}
	s.ended, s.copied = make(chan struct{}), make(chan struct{})
	go func() { _, _ = io.Copy(s.master, os.Stdin) }() // ends with this process
	go func() {
		defer close(s.copied)
		s.copyOutput()
	}()
	return nil
}

// terminalPoll is how often it is looked whether a process has ended whose
// terminal nobody has open just now.
const terminalPoll = 5 * time.Millisecond

// copyOutput passes on what the process writes to its terminal, until that has
// ended. Others may have the terminal open after that, and write to it: they do
// not keep it.
func (s *stdio) copyOutput() {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.master.Read(buf)
		if n > 0 {
			if _, werr := os.Stdout.Write(buf[:n]); werr != nil {
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.copyRest(buf)
			return
		case errors.Is(err, unix.EIO): // nobody has the terminal open
			select {
			case <-s.ended:
				return
			case <-time.After(terminalPoll):
			}
		default:
			return
		}
	}
}

// maxRest is more than the kernel keeps of a terminal's output.
const maxRest = 1 << 20

// copyRest passes on what a process that has ended has written. To read without
// waiting has the kernel hand over all that it still has (n_tty_read flushes).
func (s *stdio) copyRest(buf []byte) {
	for total := 0; total < maxRest; {
		n := 0
		err := control(s.master, func(fd int) (err error) {
			n, err = unix.Read(fd, buf)
			return err
		})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return
		}
		if _, err := os.Stdout.Write(buf[:n]); err != nil {
			return
		}
		total += n
	}
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
	_ = terminal.InheritSize(s.terminal, s.master)
}

// close waits for the last output of a process that has ended, and restores the
// caller's terminal.
func (s *stdio) close() {
	if s.copied != nil {
		close(s.ended)
		_ = s.master.SetReadDeadline(time.Now()) // ignored: it can be polled, see receiveMaster
		<-s.copied
	}
	if s.restore != nil {
		s.restore()
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
