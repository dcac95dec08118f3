// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestWindowSizeAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.pty(t, "run", "-it", "--rm", base, "stty", "size")
		p.expect("24 80\r\n", 20*time.Second)
		p.wait(soon)
		name := w.detach(t, []string{"-t"}, "sleep", "1000")
		p = w.pty(t, "exec", "-it", name, "stty", "size")
		p.expect("24 80\r\n", soon)
	})
}

func TestWindowResize(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p, _ := w.at(t, "trap 'stty size' WINCH; echo waiting; while :; do sleep 0.05; done", "--rm")
		p.expect("waiting", soon)
		p.resize(40, 100)
		p.expect("40 100", soon)
		p.resize(10, 20)
		p.expect("10 20", soon)
		p.send("\x03")
		p.wait(soon)
	})
}

func TestWindowOfExec(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		p := w.pty(t, "exec", "-it", name, "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
		p.expect("ready", soon)
		p.resize(50, 132)
		p.expect("50 132", soon)
	})
}

// TestWindowOfSecondTerminal: the last to attach decides, and the program draws.
func TestWindowOfSecondTerminal(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p, name := w.at(t, "trap 'stty size' WINCH; echo waiting; while :; do sleep 0.01; done", "--rm")
		p.expect("waiting", soon)
		second := w.pty(t, "attach", name)
		second.resize(30, 90)
		second.expect("30 90", soon)
		p.expect("30 90", soon)
	})
}

// TestRedrawOnAttach: a program that draws only if the size is another than
// before draws when a terminal of the same size is attached.
func TestRedrawOnAttach(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		script := `exec perl -e '$| = 1; sub size { ioctl(STDIN, 0x5413, my $s = ""); join " ", unpack("SS", $s) } my $old = size();
			$SIG{WINCH} = sub { my $new = size(); print "drawn $new\r\n" if $new ne $old; $old = $new }; print "waiting\r\n"; sleep 1 while 1'`
		p, name := w.at(t, script, "--rm")
		p.expect("waiting", soon)
		p.send("\x10\x11")
		if code := p.wait(soon); code != 0 {
			t.Fatalf("detach: exit status %d", code)
		}
		// A program that gets no processor for long sees the size that it knows.
		for begun := time.Now(); ; {
			again := w.pty(t, "attach", name)
			testkit.Eventually(t, soon, "the terminal is raw", again.raw)
			if testkit.Within(3*time.Second, func() bool { return again.shows("drawn 24 80") }) {
				return
			}
			if time.Since(begun) > soon {
				t.Fatalf("nothing is drawn: %q", again.output())
			}
			again.send("\x10\x11")
			again.wait(soon)
		}
	})
}
