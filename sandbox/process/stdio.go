// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Stdio is this process's side of a program's terminal or pipes.
type Stdio struct {
	tty *os.File // the terminal's master, or nil
	in  *os.File // write end of the program's stdin, or nil
	out *os.File // read ends
	err *os.File
	// child are the streams that the runtime is started with.
	child   [3]*os.File
	console *net.UnixListener

	inOnce  sync.Once
	window  window
	written atomic.Int64
}

// newStdio prepares a terminal, whose master arrives once the runtime runs, or
// pipes that belong to the program's ids, so that it can reopen them by name.
func newStdio(w Streams) (*Stdio, error) {
	null, err := ownNull()
	if err != nil {
		return nil, err
	}
	s := &Stdio{child: [3]*os.File{null, null, null}}
	if w.TTY {
		return s, nil
	}
	if w.Stdin {
		if s.child[0], s.in, err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	if s.out, s.child[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	if s.err, s.child[2], err = os.Pipe(); err != nil {
		return nil, err
	}
	for _, f := range s.child {
		if f == null {
			continue
		}
		if err := f.Chown(w.UID, w.GID); err != nil {
			return nil, fmt.Errorf("give pipe to uid %d: %w", w.UID, err)
		}
	}
	return s, nil
}

// closeChild closes the program's ends in this process.
func (s *Stdio) closeChild() {
	for _, f := range s.child {
		_ = f.Close()
	}
}

// listenConsole makes the socket on which the runtime sends the terminal.
func (s *Stdio) listenConsole(dir, name string) error {
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Through the descriptor, because the path may be too long for an address.
	addr := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)}
	s.console, err = net.ListenUnix("unix", addr)
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	s.console.SetUnlinkOnClose(false)
	return nil
}

// consoleTimeout is how long the runtime may take to send the terminal after
// it has reported success.
const consoleTimeout = 5 * time.Second

// takeConsole receives the terminal's master (terminals.md of runc's documentation).
func (s *Stdio) takeConsole() error {
	defer s.console.Close()
	if err := s.console.SetDeadline(time.Now().Add(consoleTimeout)); err != nil {
		return err
	}
	c, err := s.console.AcceptUnix()
	if err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	defer c.Close()
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(name, oob)
	if err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	fd, err := oneDescriptor(oob[:n])
	if err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s.tty = os.NewFile(uintptr(fd), "terminal")
	return nil
}

func oneDescriptor(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, err
	}
	if len(messages) != 1 {
		return 0, fmt.Errorf("%d control messages, want 1", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	if len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors, want 1", len(fds))
	}
	return fds[0], nil
}

// Input passes bytes to the program.
func (s *Stdio) Input(p []byte) error {
	w := s.in
	if s.tty != nil {
		w = s.tty
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// EndInput closes the program's stdin. A terminal has no such thing.
func (s *Stdio) EndInput() {
	if s.in != nil {
		s.inOnce.Do(func() { _ = s.in.Close() })
	}
}

// Pump passes all output to write, in chunks, and returns when there will be
// no more: the pipes are at their end, or the terminal is and exited is closed.
func (s *Stdio) Pump(exited <-chan struct{}, write func(wire.Type, []byte)) {
	var wg sync.WaitGroup
	copyAll := func(f *os.File, t wire.Type) {
		if f == nil {
			return
		}
		wg.Go(func() {
			pumpOne(f, t == wire.Stdout && f == s.tty, exited, func(p []byte) {
				s.written.Add(int64(len(p)))
				write(t, p)
			})
		})
	}
	copyAll(s.tty, wire.Stdout)
	copyAll(s.out, wire.Stdout)
	copyAll(s.err, wire.Stderr)
	wg.Wait()
}

// Written is how many bytes the program has written so far.
func (s *Stdio) Written() int64 { return s.written.Load() }

func pumpOne(f *os.File, tty bool, exited <-chan struct{}, write func([]byte)) {
	buf := make([]byte, wire.ChunkSize)
	for {
		gone := false
		select {
		case <-exited: // asked before reading, so that the last bytes are not missed
			gone = true
		default:
		}
		n, err := f.Read(buf)
		if n > 0 {
			write(buf[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			drain(f, buf, write)
			return
		case tty && errors.Is(err, unix.EIO):
			// Nobody has the terminal open at this moment. That is the end
			// only if the program is gone too.
			if gone {
				return
			}
			select {
			case <-exited:
			case <-time.After(5 * time.Millisecond):
			}
		default: // the end, most often
			return
		}
	}
}

// lastOutput is how long after a program's end its terminal may take to show
// its last output; the kernel passes that on in the background.
const lastOutput = 50 * time.Millisecond

// maxDrain is the most that can be in a pipe (pipe(7), pipe-max-size).
const maxDrain = 1 << 20

// Expire makes pump return soon, after what the program has written so far.
func (s *Stdio) Expire() {
	for _, f := range []*os.File{s.tty, s.out, s.err} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(lastOutput)) // closed already: nothing to read
		}
	}
}

// drain passes on what can be read without waiting.
func drain(f *os.File, buf []byte, write func([]byte)) {
	if f.SetReadDeadline(time.Time{}) != nil {
		return
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < maxDrain; {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		write(buf[:n])
		total += n
	}
}

// Close closes what is still open.
func (s *Stdio) Close() {
	s.EndInput()
	if s.console != nil {
		_ = s.console.Close() // often closed before
	}
	for _, f := range []*os.File{s.tty, s.out, s.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}
