// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestDetachAndAttach(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p, name := w.at(t, "while read x; do echo got-$x; done; exit 6", "--rm")
		p.send("one\r")
		p.expect("got-one", soon)
		p.send("\x10\x11")
		if code := p.wait(soon); code != 0 {
			t.Fatalf("detach: exit status %d", code)
		}
		if state := w.inspect(t, name, ".State.Status"); state != "running" {
			t.Fatalf("after detach the sandbox is %s", state)
		}
		p = w.pty(t, "attach", name)
		testkit.Eventually(t, soon, "the terminal is raw", p.raw)
		p.send("two\r")
		p.expect("got-two", soon)
		p.send("\x04")
		if code := p.wait(soon); code != 6 {
			t.Errorf("exit status %d, want 6", code)
		}
		if p.raw() {
			t.Error("the terminal is still raw")
		}
	})
}

func TestDetachKeys(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		p, name := w.at(t, "stty raw -echo; echo go; while :; do dd bs=1 count=1 2>/dev/null | od -An -tx1; done", "--detach-keys", "ctrl-a,x")
		p.expect("go", soon)
		p.send("\x10\x11") // nothing special here
		p.expect("10", soon)
		p.expect("11", soon)
		p.send("\x01b") // only the beginning of the sequence: held back, then passed on
		p.expect("01", soon)
		p.expect("62", soon)
		p.send("\x01\x01") // the second may begin it anew
		p.expect("01", soon)
		p.send("x")
		if code := p.wait(soon); code != 0 {
			t.Fatalf("detach: exit status %d", code)
		}
		p = w.pty(t, "attach", name)
		testkit.Eventually(t, soon, "the terminal is raw", p.raw)
		p.send("\x10a") // the default keys here
		p.expect("10", soon)
		p.expect("61", soon)
		p.send("\x10")
		time.Sleep(100 * time.Millisecond)
		p.send("\x11")
		if code := p.wait(soon); code != 0 {
			t.Errorf("detach: exit status %d", code)
		}
		w.must(t, "rm", "-f", name)
	})
}

func TestTwoClients(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		first, name := w.at(t, "while read x; do echo got-$x; done; exit 5", "--rm")
		second := w.pty(t, "attach", name)
		first.press("a\r", second, "got-a")
		first.expect("got-a", soon)
		second.send("b\r")
		first.expect("got-b", soon)
		second.expect("got-b", soon)
		second.send("\x10\x11")
		if code := second.wait(soon); code != 0 {
			t.Errorf("second: exit status %d", code)
		}
		third := w.pty(t, "attach", name)
		first.press("c\r", third, "got-c")
		first.send("\x04")
		if a, b := first.wait(soon), third.wait(soon); a != 5 || b != 5 {
			t.Errorf("exit status %d and %d, want 5", a, b)
		}
	})
}

// TestAttachedSignals: a client that attached leaves when it is told to, and
// the sandbox stays.
func TestAttachedSignals(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-it"}, "sh", "-c", "while read x; do echo got-$x; done")
		for sig, want := range map[string]int{"TERM": 143, "HUP": 129, "INT": 130, "QUIT": 131} {
			p := w.pty(t, "attach", name)
			testkit.Eventually(t, soon, "the terminal is raw", p.raw)
			p.send(sig + "\r")
			p.expect("got-"+sig, soon)
			if out, err := w.command("kill", "-s", sig, itoa(p.cmd.Process.Pid)).CombinedOutput(); err != nil {
				t.Fatalf("kill: %v: %s", err, out)
			}
			if code := p.wait(soon); code != want {
				t.Errorf("SIG%s: exit status %d, want %d", sig, code, want)
			}
			if p.raw() {
				t.Errorf("SIG%s: the terminal is still raw", sig)
			}
		}
		if state := w.inspect(t, name, ".State.Status"); state != "running" {
			t.Errorf("the sandbox is %s", state)
		}
	})
}

func TestAttachToEnded(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "true")
		w.must(t, "wait", name)
		for _, args := range [][]string{{"attach", name}, {"exec", name, "true"}, {"kill", name}} {
			_, stderr, code := w.run(t, args...)
			if code != 1 || !strings.Contains(stderr, "not running") {
				t.Errorf("%s: exit status %d, %q", args[0], code, stderr)
			}
		}
		_, stderr, code := w.run(t, "attach", "nosuch-sandbox")
		if code != 1 || !strings.Contains(stderr, "no such sandbox") {
			t.Errorf("exit status %d, %q", code, stderr)
		}
	})
}

// TestDetachFromExec: the program goes on, also when it prints more.
func TestDetachFromExec(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		p := w.pty(t, "exec", "-it", name, "sh", "-c", "echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.1; echo more; i=$((i+1)); done; touch /tmp/done; sleep 1000")
		p.expect("ready", soon)
		p.send("\x10\x11")
		if code := p.wait(soon); code != 0 {
			t.Fatalf("detach: exit status %d", code)
		}
		testkit.Eventually(t, soon, "the program goes on", func() bool {
			_, _, code := w.run(t, "exec", name, "test", "-e", "/tmp/done")
			return code == 0
		})
	})
}
