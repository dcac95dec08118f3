// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	tty "github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// terminal is a cpc command at a terminal that the test holds the other end of.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File

	mu   sync.Mutex
	all  strings.Builder // everything that was shown
	seen int             // how far expect has come

	done chan struct{} // closed when the command has ended
}

// pty runs cpc at a new terminal of 24 rows and 80 columns. The command is
// killed at the end of the test if it still runs.
func (w *who) pty(t *testing.T, args ...string) *terminal {
	t.Helper()
	return startTerminal(t, w, w.cpc(t, args...))
}

func startTerminal(t *testing.T, w *who, cmd *exec.Cmd) *terminal {
	t.Helper()
	opened, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	// Package pty leaves it in blocking mode, in which a reader keeps it open.
	fd, err := unix.FcntlInt(opened.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err := errors.Join(err, opened.Close(), unix.SetNonblock(fd, true)); err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "terminal")
	if err := slave.Chown(w.uid, -1); err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(slave, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, master: master, done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		term.read()
	}()
	go func() {
		_ = cmd.Wait()
		select {
		case <-read: // to the last byte
		case <-time.After(time.Second): // somebody else still has the terminal
		}
		close(term.done)
	}()
	t.Cleanup(term.close)
	return term
}

func (p *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		p.mu.Lock()
		p.all.Write(buf[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send types s.
func (p *terminal) send(s string) {
	p.t.Helper()
	if _, err := p.master.WriteString(s); err != nil {
		p.t.Fatalf("type %q: %v", s, err)
	}
}

// expect waits until want is shown, after what the last expect found.
func (p *terminal) expect(want string, within time.Duration) {
	p.t.Helper()
	if !testkit.Within(within, func() bool { return p.shows(want) }) {
		p.t.Fatalf("%q is not shown within %v, but:\n%q", want, within, p.rest())
	}
}

// press types keys again and again until want is shown at a terminal: the program
// that they are for may not be there yet.
func (p *terminal) press(keys string, at *terminal, want string) {
	p.t.Helper()
	for begun := time.Now(); ; {
		p.send(keys)
		if testkit.Within(300*time.Millisecond, func() bool { return at.shows(want) }) {
			return
		}
		if time.Since(begun) > soon {
			p.t.Fatalf("%q is not shown after %q, but:\n%q", want, keys, at.output())
		}
	}
}

// shows reports whether want is shown, after what the last expect found.
func (p *terminal) shows(want string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := strings.Index(p.all.String()[p.seen:], want)
	if i >= 0 {
		p.seen += i + len(want)
	}
	return i >= 0
}

// rest is what was shown after what the last expect found.
func (p *terminal) rest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.String()[p.seen:]
}

// ended reports whether the command ends within a time.
func (p *terminal) ended(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// output returns everything that was shown.
func (p *terminal) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.String()
}

func (p *terminal) resize(rows, cols uint16) {
	p.t.Helper()
	if err := tty.Resize(p.master, rows, cols); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the command's exit status, negative if a signal ended it.
func (p *terminal) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("cpc %s has not ended within %v; it shows:\n%q", strings.Join(p.cmd.Args[1:], " "), within, p.output())
	}
	return exitCode(p.cmd)
}

// settings returns the terminal's modes, to see whether they are restored.
func (p *terminal) settings() unix.Termios {
	p.t.Helper()
	var s *unix.Termios
	var err error
	p.control(func(fd int) { s, err = unix.IoctlGetTermios(fd, unix.TCGETS) })
	if err != nil {
		p.t.Fatal(err)
	}
	return *s
}

// control calls f with the test's end. File.Fd would make it one that cannot
// be closed while it is read from.
func (p *terminal) control(f func(fd int)) {
	p.t.Helper()
	raw, err := p.master.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		p.t.Fatal(err)
	}
}

// hangUp closes the test's end, as when a terminal window is closed.
func (p *terminal) hangUp() { _ = p.master.Close() }

// close ends the command, if it has not ended, and lets go of the terminal.
func (p *terminal) close() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.master.Close()
}
