// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestExec(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-e", "FROM=run", "-w", "/usr"}, "sleep", "1000")
		for _, c := range []struct{ options, script, want string }{
			{"", "id -u; pwd; echo $FROM", "1000\n/usr\nrun\n"},
			{"-u 5:6", "id -u; id -g", "5\n6\n"},
			{"-u games", "id -un", "games\n"},
			{"-u 0", "id -u; grep -c '^CapEff:.*[1-9a-f]' /proc/self/status", "0\n1\n"},
			{"-w /tmp", "pwd", "/tmp\n"},
			{"-e A=b -e FROM=exec", "echo $A $FROM", "b exec\n"},
			{"-t", "tty >/dev/null && echo yes", "yes\r\n"},
			{"", "tty >/dev/null || echo no", "no\n"},
		} {
			args := append(append([]string{"exec"}, strings.Fields(c.options)...), name, "sh", "-c", c.script)
			if out := w.must(t, args...); out != c.want {
				t.Errorf("exec %s: %q printed %q, want %q", c.options, c.script, out, c.want)
			}
		}
	})
}

// A command that fails for the network is told what was refused to it, and what lets it
// out of this sandbox; the next one is not told of it again.
func TestExecIsToldOfRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		_, stderr, code := w.run(t, "exec", name, "getent", "hosts", "api.anthropic.com")
		if want := "To let it out to more hosts: cpc net allow " + name + " @anthropic\n"; code != 2 || !strings.Contains(stderr, "did not let the sandbox reach") ||
			!strings.HasSuffix(stderr, want) {
			t.Errorf("exit status %d: %q, want %q", code, stderr, want)
		}
		w.must(t, "net", "allow", name, "@anthropic")
		if _, stderr, _ := w.run(t, "exec", name, "true"); stderr != "" {
			t.Errorf("nothing was refused: %q", stderr)
		}
	})
}

func TestExecPassesStatusOn(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--tmpfs", "/x:exec,mode=1777"}, "sleep", "1000")
		for _, options := range [][]string{nil, {"-t"}} {
			for _, c := range []struct {
				args []string
				want int
			}{
				{[]string{"true"}, 0},
				{[]string{"sh", "-c", "exit 7"}, 7},
				{[]string{"sh", "-c", "exit 255"}, 255},
				{[]string{"sh", "-c", "kill -TERM $$"}, 143},
				{[]string{"sh", "-c", "kill -KILL $$"}, 137},
				{[]string{"nosuch-command"}, 127},
				{[]string{"/nosuch/command"}, 127},
				{[]string{"/etc/passwd"}, 126},
				{[]string{"/etc"}, 126},
				{[]string{"sh", "-c", `cd /x; printf '#!/nosuch\n' >orphan; printf '#!/bin/sh\r\n' >crlf; echo true >plain; chmod +x *`}, 0},
				{[]string{"/x/orphan"}, 126},
				{[]string{"/x/crlf"}, 126},
				{[]string{"/x/plain"}, 126},
			} {
				args := append(append([]string{"exec"}, options...), name)
				if _, stderr, code := w.run(t, append(args, c.args...)...); code != c.want {
					t.Errorf("exec %v %q: exit status %d, want %d; %s", options, c.args, code, c.want, stderr)
				}
			}
		}
	})
}

func TestExecInBackground(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		if out := w.must(t, "exec", "-d", name, "sh", "-c", "sleep 0.2; echo said; echo done >/tmp/done"); out != "" {
			t.Errorf("exec -d printed %q", out)
		}
		testkit.Eventually(t, soon, "it is done", func() bool {
			out, _, _ := w.run(t, "exec", name, "cat", "/tmp/done")
			return out == "done\n"
		})
		if out := w.must(t, "logs", name); out != "" {
			t.Errorf("an exec's output is in the sandbox's log: %q", out)
		}
	})
}

func TestManyExecs(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				cmd := w.cpc(t, "exec", "-i", name, "sh", "-c", fmt.Sprintf("cat; exit %d", i))
				in := bytes.Repeat([]byte{byte('a' + i)}, 100_000)
				var out bytes.Buffer
				cmd.Stdin, cmd.Stdout = bytes.NewReader(in), &out
				_ = cmd.Run()
				if code := exitCode(cmd); code != i || !bytes.Equal(out.Bytes(), in) {
					t.Errorf("exec %d: exit status %d, %d bytes", i, code, out.Len())
				}
			})
		}
		wg.Wait()
	})
}

// marked returns the host's pids of programs that have mark as an argument.
func marked(mark string) []int {
	var found []int
	for _, pid := range pids() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(cmdline, []byte("\x00"+mark+"\x00")) && !bytes.Contains(cmdline, []byte("exec\x00")) {
			found = append(found, pid)
		}
	}
	return found
}

// TestExecClientKilled: what a person started with exec does not stay when the
// client is gone; unlike with docker.
func TestExecClientKilled(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		for what, c := range map[string]struct{ options, script string }{
			"pipes":        {"-i", "sleep %s; true"},
			"no input":     {"", "sleep %s; true"},
			"ignores HUP":  {"-i", "trap '' HUP; sleep %s; true"},
			"terminal":     {"-it", "sleep %s; true"},
			"reads input":  {"-i", "sleep %s & cat"},
			"does nothing": {"-it", "exec sleep %s"},
		} {
			mark := strconv.FormatInt(time.Now().UnixNano(), 10)
			args := append(append([]string{"exec"}, strings.Fields(c.options)...), name, "sh", "-c", fmt.Sprintf(c.script, mark))
			p := w.pty(t, args...)
			testkit.Eventually(t, soon, what+": the program runs", func() bool { return len(marked(mark)) > 0 })
			kill(t, p.cmd.Process.Pid, unix.SIGKILL)
			testkit.Eventually(t, 4*time.Second, what+": nothing is left in the sandbox", func() bool { return len(marked(mark)) == 0 })
		}
		if state := w.inspect(t, name, ".State.Status"); state != "running" {
			t.Errorf("the sandbox is %s", state)
		}
	})
}

// TestExecWhileSandboxEnds: the client learns of the end, with the status of a
// program that was killed.
func TestExecWhileSandboxEnds(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		cmd := w.cpc(t, "exec", name, "sh", "-c", "echo ready; sleep 1000")
		var out lockedBuffer
		cmd.Stdout = &out
		done := startBackground(t, cmd)
		testkit.Eventually(t, soon, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		w.must(t, "kill", name)
		select {
		case <-done:
		case <-time.After(soon):
			t.Fatal("the client waits for ever")
		}
		if code := exitCode(cmd); code != 137 {
			t.Errorf("exit status %d, want 137", code)
		}
	})
}

func TestExecSignals(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		cmd := w.cpc(t, "exec", name, "sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done")
		var out lockedBuffer
		cmd.Stdout = &out
		done := startBackground(t, cmd)
		testkit.Eventually(t, soon, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		kill(t, cmd.Process.Pid, unix.SIGTERM)
		select {
		case <-done:
		case <-time.After(soon):
			t.Fatal("the signal was not passed on")
		}
		if code := exitCode(cmd); code != 4 {
			t.Errorf("exit status %d, want 4", code)
		}
	})
}
