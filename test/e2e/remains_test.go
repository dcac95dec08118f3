// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// live is a running sandbox and the cpc that is attached to it, if one is.
type live struct {
	name, id           string
	init, monitor      int // pids, as the host counts
	client             *exec.Cmd
	wait               func(within time.Duration) int
	output             func() string
	autoRemove, attend bool
}

// sandboxKinds are the ways in which a sandbox can have been started.
var sandboxKinds = []struct {
	name    string
	options []string
}{
	{"pipes", nil},
	{"terminal", []string{"-i", "-t"}},
	{"detached", []string{"-d"}},
	{"detached terminal", []string{"-d", "-t"}},
	{"rm", []string{"--rm", "-i"}},
	{"rm detached", []string{"--rm", "-d"}},
}

// busy is a program that has children, background jobs and open files, and
// that a hang-up or a request to end does not impress.
const busyScript = "trap '' HUP TERM INT; echo x >/tmp/x; echo x >/home/sandbox/x; sleep 300 & (sleep 300; true) & echo ready; wait; sleep 300"

func (w *who) start(t *testing.T, options []string) *live {
	t.Helper()
	l := &live{name: w.name(t)}
	args := append(append([]string{"run", "--name", l.name}, options...), base, "sh", "-c", busyScript)
	has := func(o string) bool { return strings.Contains(" "+strings.Join(options, " ")+" ", " "+o+" ") }
	l.autoRemove, l.attend = has("--rm"), !has("-d")
	switch {
	case has("-d"):
		w.must(t, args...)
	case has("-t"):
		p := w.pty(t, args...)
		l.client, l.wait, l.output = p.cmd, p.wait, p.output
	default:
		l.pipes(t, w.cpc(t, args...))
	}
	testkit.Eventually(t, 20*time.Second, "the sandbox runs", func() bool {
		stdout, _, code := w.run(t, "inspect", "--format", "{{.State.Running}}", l.name)
		return code == 0 && strings.TrimSpace(stdout) == "true"
	})
	l.id = w.inspect(t, l.name, ".ID")
	l.init = atoi(t, w.inspect(t, l.name, ".State.Pid"))
	l.monitor = atoi(t, w.inspect(t, l.name, ".State.MonitorPid"))
	if !alive(l.init) || !alive(l.monitor) {
		t.Fatalf("pids %d and %d of a running sandbox are not there", l.init, l.monitor)
	}
	return l
}

// pipes runs the client with pipes that stay open until the test ends.
func (l *live) pipes(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out lockedBuffer
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	l.client, l.output = cmd, out.String
	l.wait = func(within time.Duration) int {
		t.Helper()
		select {
		case <-done:
		case <-time.After(within):
			t.Fatalf("cpc run has not ended within %v: %s", within, out.String())
		}
		return exitCode(cmd)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = in.Close()
	})
}

// records returns the ids that may have a record after the sandbox has ended.
func (l *live) records() []string {
	if l.autoRemove {
		return nil
	}
	return []string{l.id}
}

// gone checks that the sandbox was killed, and for which reason of cpc's own, that only its
// record is left, and that nothing is after cpc rm.
func (w *who) gone(t *testing.T, l *live, reason string) {
	t.Helper()
	w.leftoversBut(t, l.records())
	if !l.autoRemove {
		if got := w.inspect(t, l.name, ".State.ExitCode"); got != "137" {
			t.Errorf("exit status %s in inspect, want 137", got)
		}
		if got := w.inspect(t, l.name, ".State.Reason"); !strings.Contains(got, reason) || reason == "" && got != "" {
			t.Errorf("reason %q, want %q", got, reason)
		}
		if got := w.inspect(t, l.name, ".State.Status"); got != "exited" {
			t.Errorf("status %q", got)
		}
		w.must(t, "rm", l.name)
	}
	w.leftovers(t)
}

func (w *who) noProcesses(t *testing.T, within time.Duration) {
	t.Helper()
	var left []int
	if testkit.Within(within, func() bool { left = w.processes(); return len(left) == 0 }) {
		return
	}
	for _, pid := range left {
		t.Errorf("after %v still there: %s", within, describe(pid))
	}
}

// kill9 kills a process and waits until all its threads have let go of what
// they held.
func kill9(t *testing.T, pid int) {
	t.Helper()
	gone := awaitEnd(t, []int{pid})
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
	gone()
}

// awaitEnd returns a function that waits until these processes have ended.
// A process that is dying has no environment any more to know it by, and still
// has its locks.
func awaitEnd(t *testing.T, pids []int) func() {
	t.Helper()
	var polls []unix.PollFd
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return func() {
		t.Helper()
		testkit.Eventually(t, 5*time.Second, "processes that were killed are gone", func() bool {
			n, err := unix.Poll(polls, 100)
			return n == len(polls) && err == nil
		})
	}
}

func TestInitKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, kind := range sandboxKinds {
			t.Run(kind.name, func(t *testing.T) {
				l := w.start(t, kind.options)
				kill9(t, l.init)
				if l.attend {
					if code := l.wait(10 * time.Second); code != 137 {
						t.Errorf("cpc run: exit status %d: %s", code, l.output())
					}
				}
				w.noProcesses(t, 2*time.Second)
				w.gone(t, l, "")
			})
		}
	})
}

func TestMonitorKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, kind := range sandboxKinds {
			t.Run(kind.name, func(t *testing.T) {
				l := w.start(t, kind.options)
				kill9(t, l.monitor)
				if l.attend {
					code := l.wait(10 * time.Second)
					if code != 125 || !strings.Contains(l.output(), "monitor has died") {
						t.Errorf("cpc run: exit status %d: %q", code, l.output())
					}
				}
				w.noProcesses(t, 2*time.Second)
				w.must(t, "ps", "-a")
				w.gone(t, l, "its monitor died")
			})
		}
	})
}

func TestOwnerKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, options := range [][]string{nil, {"-i", "-t"}, {"--rm", "-i"}} {
			l := w.start(t, options)
			kill9(t, l.client.Process.Pid)
			l.wait(10 * time.Second)
			w.noProcesses(t, 3*time.Second)
			w.gone(t, l, "client that it belonged to is gone")
		}
	})
}

// All at once, as when a machine runs out of memory.
func TestClientAndMonitorKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		l := w.start(t, nil)
		kill9(t, l.client.Process.Pid)
		kill9(t, l.monitor)
		w.noProcesses(t, 2*time.Second)
		w.must(t, "ps", "-a")
		w.gone(t, l, "its monitor died")
	})
}

// An attached client that did not start the sandbox can die without harm.
func TestAttachedClientKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		l := w.start(t, []string{"-d", "-t", "-i"})
		p := w.pty(t, "attach", l.name)
		time.Sleep(300 * time.Millisecond)
		kill9(t, p.cmd.Process.Pid)
		p.wait(5 * time.Second)
		time.Sleep(500 * time.Millisecond)
		if got := w.inspect(t, l.name, ".State.Running"); got != "true" || !alive(l.init) {
			t.Errorf("running: %s", got)
		}
	})
}

func TestEndedInOrder(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, end := range [][]string{{"kill"}, {"stop", "-t", "0"}, {"rm", "-f"}} {
			l := w.start(t, []string{"-d"})
			w.must(t, append(end, l.name)...)
			if end[0] == "rm" {
				w.leftovers(t)
				continue
			}
			w.must(t, "wait", l.name)
			w.gone(t, l, "")
		}
		w.must(t, "run", "--rm", base, "true")
		w.leftovers(t)
	})
}

// monitors finds the caller's monitor processes.
func (w *who) monitors() []int {
	var found []int
	for _, pid := range pids() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.HasPrefix(cmdline, []byte("cpc\x00monitor\x00")) && bytes.Contains(env, []byte("CPC_DATA_DIR="+w.home)) {
			found = append(found, pid)
		}
	}
	return found
}

// Whatever is killed at whatever moment of a start: after the next command
// nothing is left.
func TestKilledWhileStarting(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		w.must(t, "run", "--rm", base, "true") // unpacks the layers
		for i := range 20 {
			options := [][]string{nil, {"--rm"}, {"-d"}, {"-d", "--rm"}, {"-i"}}[i%5]
			killMonitor := i%2 == 1
			args := append(append([]string{"run", "--name", w.name(t)}, options...), base, "sleep", "300")
			cmd := w.cpc(t, args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			delay := rand.N(80 * time.Millisecond)
			time.Sleep(delay)
			if killMonitor {
				testkit.Eventually(t, 5*time.Second, "there is a monitor", func() bool { return len(w.monitors()) > 0 })
				for _, pid := range w.monitors() {
					kill9(t, pid)
				}
			} else {
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait()
			if !killMonitor && len(options) > 0 && options[0] == "-d" {
				w.settle(t)
			} else {
				w.noProcesses(t, 4*time.Second)
			}
			w.must(t, "ps", "-a")
			w.clear(t)
			w.leftovers(t)
			if t.Failed() {
				t.Fatalf("round %d: %v after %v, monitor: %v", i, options, delay, killMonitor)
			}
		}
	})
}

// settle waits until a detached sandbox, whose starter was killed on the way,
// either runs or is gone.
func (w *who) settle(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 5*time.Second, "the sandbox runs or is gone", func() bool {
		return len(w.monitors()) == 0 || len(lines(w.must(t, "ps", "-q"))) > 0
	})
}

func TestBuildKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir := filepath.Join(w.home, "killed-build")
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a build context
			t.Fatal(err)
		}
		text := "FROM " + base + "\nRUN echo in the step; echo x >/x; sleep 300 & sleep 300\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil { //nolint:gosec // a build context
			t.Fatal(err)
		}
		for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT} {
			cmd := w.cpc(t, "build", "--progress", "plain", "--no-cache", "-t", "killed", dir)
			var out lockedBuffer
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.SysProcAttr.Setpgid = true
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, 30*time.Second, "the step runs", func() bool { return strings.Contains(out.String(), "in the step") })
			gone := awaitEnd(t, w.processes())
			pid := cmd.Process.Pid
			if sig == unix.SIGINT {
				pid = -pid // as the terminal does
			}
			if err := unix.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			w.noProcesses(t, 3*time.Second)
			gone()
			w.must(t, "ps", "-a")
			w.leftovers(t)
			if names := w.must(t, "images"); strings.Contains(names, "killed") {
				t.Errorf("a build that was killed made an image:\n%s", names)
			}
			w.noTemporaries(t)
		}
	})
}

// noTemporaries checks that the image store has no half-made things.
func (w *who) noTemporaries(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/tmp/*", "/scratch/*"} {
		if names, _ := filepath.Glob(w.data + pattern); len(names) > 0 {
			t.Errorf("left in the store: %v", names)
		}
	}
}
