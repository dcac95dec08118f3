// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// client is a cpc with pipes.
type client struct {
	cmd  *exec.Cmd
	out  lockedBuffer
	done chan struct{}
}

func startClient(t *testing.T, cmd *exec.Cmd) *client {
	t.Helper()
	c := &client{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &c.out, &c.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() {
		_ = cmd.Wait()
		close(c.done)
	}()
	return c
}

func (c *client) says(t *testing.T, what string) {
	t.Helper()
	testkit.Eventually(t, soon, "it says "+what, func() bool { return strings.Contains(c.out.String(), what) })
}

func (c *client) ends(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(soon):
		t.Fatalf("it has not ended: %s", c.out.String())
	}
	return exitCode(c.cmd)
}

// Signals to an exec without a terminal come to what its shell waits for as well,
// and the third one ends the client, whatever the program makes of them.
func TestSignalsOfExec(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		t.Run("group", func(t *testing.T) {
			c := startClient(t, w.cpc(t, "exec", name, "sh", "-c", "echo ready; sleep 2000; echo after"))
			c.says(t, "ready")
			kill(t, c.cmd.Process.Pid, unix.SIGINT)
			if code := c.ends(t); code != 128+int(unix.SIGINT) || strings.Contains(c.out.String(), "after") {
				t.Errorf("status %d: %s", code, c.out.String())
			}
		})
		t.Run("third", func(t *testing.T) {
			c := startClient(t, w.cpc(t, "exec", name, "sh", "-c", "trap 'echo no' INT; echo ready; while :; do sleep 0.1; done"))
			c.says(t, "ready")
			for _, said := range []string{"no\n", "no\nno\n"} {
				kill(t, c.cmd.Process.Pid, unix.SIGINT)
				c.says(t, said)
			}
			kill(t, c.cmd.Process.Pid, unix.SIGINT)
			if code := c.ends(t); code != 128+int(unix.SIGINT) {
				t.Errorf("status %d", code)
			}
			c.says(t, "told to end and has not")
		})
		t.Run("job", func(t *testing.T) {
			c := startClient(t, w.cpc(t, "exec", name, "sh", "-c",
				"trap 'echo size' WINCH; trap 'echo on' CONT; echo ready; while :; do sleep 0.1; done"))
			c.says(t, "ready")
			kill(t, c.cmd.Process.Pid, unix.SIGWINCH)
			c.says(t, "size")
			kill(t, c.cmd.Process.Pid, unix.SIGCONT)
			c.says(t, "on")
			kill(t, c.cmd.Process.Pid, unix.SIGTERM)
			if code := c.ends(t); code != 128+int(unix.SIGTERM) {
				t.Errorf("status %d", code)
			}
		})
	})
}

// A client that goes on after a stop has its terminal raw again, and the program
// draws anew. Who leaves an exec is told that there is no way back.
func TestExecAfterAStop(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		p := w.pty(t, "exec", "-it", name, "sh", "-c", "stty raw -echo; trap 'echo drawn-$((n=n+1))' WINCH; echo ready; while :; do sleep 0.1; done")
		p.expect("ready", soon)
		testkit.Eventually(t, soon, "the terminal is raw", p.raw)
		modes := p.settings()
		modes.Lflag |= unix.ICANON | unix.ECHO | unix.ISIG // as a shell has them
		p.control(func(fd int) {
			if err := unix.IoctlSetTermios(fd, unix.TCSETS, &modes); err != nil {
				t.Error(err)
			}
		})
		kill(t, p.cmd.Process.Pid, unix.SIGCONT)
		testkit.Eventually(t, soon, "the terminal is raw again", p.raw)
		p.expect("drawn-", soon)
		p.send("\x10\x11")
		if code := p.wait(soon); code != 0 {
			t.Errorf("detach: exit status %d", code)
		}
		p.expect("cannot be attached again", soon)
	})
}

// A sandbox ends with the terminal of its client, also where no SIGHUP says that
// it is gone: the client is in a session of its own.
func TestLostTerminal(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.name(t)
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer slave.Close()
		if err := slave.Chown(w.uid, -1); err != nil {
			t.Fatal(err)
		}
		cmd := w.cpc(t, "run", "-it", "--rm", "--name", name, base, "sleep", "1000")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr.Setsid = true
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		testkit.Eventually(t, soon, "the sandbox runs", func() bool { return w.must(t, "ps", "-q", "--filter", "name="+name) != "" })
		if err := master.Close(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(soon):
			t.Fatal("the client has not ended")
		}
		if code := exitCode(cmd); code != 128+int(unix.SIGHUP) {
			t.Errorf("status %d", code)
		}
		testkit.Eventually(t, soon, "the sandbox is gone", func() bool { return w.must(t, "ps", "-aq", "--filter", "name="+name) == "" })
	})
}
