// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"
)

func TestHello(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		stdout, stderr, code := w.run(t, "run", "-q", "--rm", base, "sh", "-c", "echo hello; echo there >&2; exit 7")
		if stdout != "hello\n" || stderr != "there\n" && w.mode != single || code != 7 {
			t.Errorf("stdout %q, stderr %q, code %d", stdout, stderr, code)
		}
		w.leftovers(t)
	})
}

func TestShellAtATerminal(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.pty(t, "run", "-it", "--rm", "-e", "PS1=ready> ", base, "sh")
		p.expect("ready> ", 20*time.Second)
		p.send("stty size\r")
		p.expect("24 80", 10*time.Second)
		p.send("exit 3\r")
		if code := p.wait(10 * time.Second); code != 3 {
			t.Errorf("exit status %d", code)
		}
	})
}
