// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"
)

// shell starts bash at a terminal, with a prompt that is easy to find.
func (w *who) shell(t *testing.T) *terminal {
	t.Helper()
	p := w.pty(t, "run", "-it", "--rm", "-e", "PS1=prompt> ", "-e", "LANG=C.UTF-8", base, "bash", "--norc", "--noprofile")
	p.expect("prompt> ", 20*time.Second)
	return p
}

// line types a command and waits for what it prints and the next prompt.
func (p *terminal) line(command, want string) {
	p.t.Helper()
	p.send(command + "\r")
	p.expect("\r\n", soon) // its echo
	if want != "" {
		p.expect(want, soon)
	}
	p.expect("prompt> ", soon)
}

func TestJobControl(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.shell(t)
		p.line("sleep 1000 &", "[1] ")
		p.line("jobs", "[1]+  Running")
		p.send("fg\r")
		p.expect("sleep 1000\r\n", soon)
		p.press("\x1a", p, "Stopped") // the job may not be in the foreground yet
		p.expect("prompt> ", soon)
		p.line("bg", "[1]+ sleep 1000 &")
		p.line("jobs", "Running")
		p.send("fg\r")
		p.expect("sleep 1000\r\n", soon)
		p.press("\x03", p, "prompt> ")
		p.line("echo status $?", "status 130")
		if strings.Contains(p.output(), "job control") {
			t.Errorf("the shell has no job control: %q", p.output())
		}
	})
}

func TestTerminalKeys(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.shell(t)
		p.send("echo be''gun; cat\r") // what is typed after that, cat reads
		p.expect("begun\r\n", soon)
		p.send("some text\r")
		p.expect("some text\r\nsome text\r\n", soon)
		p.send("\x04") // end of input, for cat
		p.expect("prompt> ", soon)
		p.send("sh -c 'echo be\"\"gun; exec sleep 1000'\r")
		p.expect("begun\r\n", soon)
		p.send("\x1c")
		p.expect("Quit", soon)
		p.expect("prompt> ", soon)
		p.line("(exit 9)", "")
		p.send("\x04") // end of the shell, with its last status
		if code := p.wait(soon); code != 9 {
			t.Errorf("exit status %d, want 9", code)
		}
	})
}

func TestTerminalText(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.shell(t)
		const text = "grüße 你好 👩\u200d🚀 e\u0301 \u200fשלום"
		p.line("printf '%s|\\n' '"+text+"'", text+"|")
	})
}

func TestTerminalTextInput(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		p, _ := w.at(t, "read -r x; printf '%s' \"$x\" | od -An -tx1; exit 0", "--rm")
		p.send("ü你\U0001F680\r")
		p.expect("c3 bc e4 bd a0 f0 9f 9a 80", soon)
	})
}

// TestTerminalIsTransparent: every byte arrives as it was typed, and what a
// full-screen program sends is passed on as it is.
func TestTerminalIsTransparent(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p, _ := w.at(t, "stty raw -echo; echo go; dd bs=1 count=254 2>/dev/null | od -An -v -tx1 -w254; printf '\\033[?1049h\\033[2J\\377\\000x\\033[?1049l'; exit 4", "--rm")
		p.expect("go", soon)
		var typed, want strings.Builder
		for b := range 256 {
			if b == 0x10 || b == 0x11 { // the detach keys have a test of their own
				continue
			}
			typed.WriteByte(byte(b))
			want.WriteString(" " + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15]))
		}
		p.send(typed.String())
		p.expect(want.String(), soon)
		p.expect("\x1b[?1049h\x1b[2J\xff\x00x\x1b[?1049l", soon)
		if code := p.wait(soon); code != 4 {
			t.Errorf("exit status %d", code)
		}
	})
}

// TestHangUp: the terminal window is closed.
func TestHangUp(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		p := w.shell(t)
		p.hangUp()
		select {
		case <-p.done:
		case <-time.After(soon):
			t.Error("cpc run lives on without its terminal")
		}
		w.leftovers(t)
	})
}

func TestTerminalNeedsOne(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		_, stderr, code := w.run(t, "run", "-it", "--rm", base, "true")
		if code != 125 || !strings.Contains(stderr, "not a terminal") {
			t.Errorf("exit status %d, %q", code, stderr)
		}
		if out := w.in(t, "tty; stty size", "-t"); !strings.Contains(out, "/dev/pts/0\r\n") {
			t.Errorf("-t alone: %q", out)
		}
	})
}
