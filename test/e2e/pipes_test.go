// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// noise is n bytes that no text filter leaves as they are.
func noise(n int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n))
}

func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashed runs a command and returns the checksum of its output.
func hashed(t *testing.T, w *who, in io.Reader, args ...string) string {
	t.Helper()
	cmd := w.cpc(t, args...)
	h := sha256.New()
	cmd.Stdin, cmd.Stdout = in, h
	if r := finish(t, cmd); r.code != 0 {
		t.Fatalf("cpc %q: exit status %d: %s", args, r.code, r.stderr)
	}
	return hex.EncodeToString(h.Sum(nil))
}

const mega = 1 << 20

func TestPipesAreClean(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		want := sum(t, noise(20*mega))
		if got := hashed(t, w, noise(20*mega), "run", "--rm", "-i", base, "cat"); got != want {
			t.Errorf("run: 20 MiB through cat have the checksum %s, want %s", got, want)
		}
		name := w.detach(t, nil, "sleep", "1000")
		if got := hashed(t, w, noise(20*mega), "exec", "-i", name, "cat"); got != want {
			t.Errorf("exec: 20 MiB through cat have the checksum %s, want %s", got, want)
		}
	})
}

func TestMuchOutput(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		want := sum(t, io.LimitReader(zeros{}, 64*mega))
		if got := hashed(t, w, nil, "run", "--rm", base, "head", "-c", "64M", "/dev/zero"); got != want {
			t.Errorf("64 MiB have the checksum %s, want %s", got, want)
		}
	})
}

func TestStreamsAreApart(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "--rm", base, "sh", "-c", `i=0; while [ $i -lt 500 ]; do printf 'o\0\377'; printf 'e\r\n' >&2; i=$((i+1)); done`)
		r := finish(t, cmd)
		if want := strings.Repeat("o\x00\xff", 500); r.stdout != want {
			t.Errorf("standard output has %d bytes, want %d", len(r.stdout), len(want))
		}
		if want := strings.Repeat("e\r\n", 500); !strings.HasSuffix(r.stderr, want) {
			t.Errorf("standard error has %d bytes, want %d", len(r.stderr), len(want))
		}
	})
}

func TestStandardInput(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "--rm", "-i", base, "sh", "-c", "wc -c; echo done")
		cmd.Stdin = strings.NewReader("12345")
		if r := finish(t, cmd); r.stdout != "5\ndone\n" {
			t.Errorf("its end: %q", r.stdout)
		}
		cmd = w.cpc(t, "run", "--rm", "-i", base, "cat")
		if r := finish(t, cmd); r.stdout != "" || r.code != 0 { // a nil Stdin is /dev/null
			t.Errorf("from /dev/null: %+v", r)
		}
		cmd = w.cpc(t, "run", "--rm", base, "cat")
		cmd.Stdin = strings.NewReader("not for it")
		if r := finish(t, cmd); r.stdout != "" || r.code != 0 {
			t.Errorf("without -i: %+v", r)
		}
		cmd = w.cpc(t, "run", "--rm", "-i", base, "true") // reads nothing of much
		cmd.Stdin = noise(4 * mega)
		if r := finish(t, cmd); r.code != 0 {
			t.Errorf("ends without reading: %+v", r)
		}
		name := w.detach(t, nil, "cat")
		if code := strings.TrimSpace(w.must(t, "wait", name)); code != "0" {
			t.Errorf("-d without -i: exit status %s", code)
		}
	})
}

// TestSlowReader: output waits in the sandbox for whoever reads it.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.name(t)
		cmd := w.cpc(t, "run", "-i", "--name", name, base, "sh", "-c", "head -c 16M /dev/zero; echo written >&2")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs lockedBuffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if strings.Contains(errs.String(), "written") {
			t.Error("nobody has read, and all is written")
		}
		n, err := io.Copy(io.Discard, out)
		if err != nil || n != 16*mega {
			t.Errorf("%d bytes were read (%v), want %d", n, err, 16*mega)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(errs.String(), "written") {
			t.Errorf("standard error: %q", errs.String())
		}
	})
}

// TestStopWithoutReader: a client that does not read cannot keep a sandbox
// from being stopped.
func TestStopWithoutReader(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.name(t)
		cmd := w.cpc(t, "run", "--rm", "--init", "--name", name, base, "cat", "/dev/zero")
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer out.Close()
		cmd.Stdout = out
		startBackground(t, cmd)
		w.awaitRunning(t, name)
		time.Sleep(500 * time.Millisecond)
		begun := time.Now()
		w.must(t, "stop", "-t", "1", name)
		answered(t, "stop", begun)
	})
}

// TestReaderThatLeaves is cpc run … | head -1.
func TestReaderThatLeaves(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "--rm", base, "yes", "line")
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = out
		var errs lockedBuffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 5)
		if _, err := io.ReadFull(r, line); err != nil || string(line) != "line\n" {
			t.Errorf("read %q, %v", line, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := exitCode(cmd); code != 128+int(unix.SIGPIPE) {
			t.Errorf("exit status %d; %s", code, errs.String())
		}
		w.leftovers(t)
	})
}

// TestShortOutput: a program that ends at once has said its word.
func TestShortOutput(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for range 25 {
			if out := w.in(t, "echo end"); out != "end\n" {
				t.Fatalf("got %q", out)
			}
			if out := w.in(t, "echo end", "-t"); out != "end\r\n" {
				t.Fatalf("with a terminal: got %q", out)
			}
		}
	})
}

// TestBackgroundOutput: what a program has left in the background neither
// loses its output nor holds up whoever waits for the program.
func TestBackgroundOutput(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		for _, options := range [][]string{{"exec"}, {"exec", "-t"}} {
			// It would wait for longer than any command may take.
			out := w.must(t, append(options, name, "sh", "-c", "trap '' HUP; sleep 1000 & head -c 50000 /dev/zero | tr '\\0' x")...)
			if len(out) != 50000 {
				t.Errorf("%q: %d bytes", options, len(out))
			}
		}
	})
}

func TestSignalsReachTheProgram(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for sig, number := range map[string]unix.Signal{"TERM": unix.SIGTERM, "INT": unix.SIGINT, "HUP": unix.SIGHUP, "USR1": unix.SIGUSR1, "QUIT": unix.SIGQUIT} {
			cmd := w.cpc(t, "run", "--rm", base, "sh", "-c", "trap 'echo got "+sig+"; exit 3' "+sig+"; echo ready; while :; do sleep 0.05; done")
			var out lockedBuffer
			cmd.Stdout = &out
			done := startBackground(t, cmd)
			testkit.Eventually(t, 20*time.Second, "ready", func() bool { return strings.Contains(out.String(), "ready") })
			kill(t, cmd.Process.Pid, number)
			select {
			case <-done:
			case <-time.After(soon):
				t.Fatalf("SIG%s: has not ended; %q", sig, out.String())
			}
			if code := exitCode(cmd); code != 3 || !strings.Contains(out.String(), "got "+sig) {
				t.Errorf("SIG%s: exit status %d, %q", sig, code, out.String())
			}
		}
	})
}

// TestSignalBehindInput: a program that does not read its input hears signals.
func TestSignalBehindInput(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "-i", "--rm", base, "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
		cmd.Stdin = noise(8 * mega)
		var out lockedBuffer
		cmd.Stdout = &out
		cmd.WaitDelay = time.Second // the copy to a pipe that nobody reads
		done := startBackground(t, cmd)
		testkit.Eventually(t, 20*time.Second, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		time.Sleep(300 * time.Millisecond)
		kill(t, cmd.Process.Pid, unix.SIGTERM)
		select {
		case <-done:
		case <-time.After(soon):
			t.Fatal("the signal is stuck behind the input")
		}
		if code := exitCode(cmd); code != 3 {
			t.Errorf("exit status %d", code)
		}
	})
}
