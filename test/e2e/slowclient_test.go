// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// An attached client that reads nothing (stopped, as by Ctrl-Z) holds up neither
// the program nor an end, and is told that it was disconnected.
func TestClientThatReadsNothing(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-t"}, "sh", "-c", "while :; do echo "+strings.Repeat("x", 60)+"; done")
		spent := func() string { return w.must(t, "exec", name, "cut", "-d ", "-f14,15", "/proc/1/stat") }
		client := w.cpc(t, "attach", "--no-stdin", name)
		var stderr bytes.Buffer
		client.Stderr = &stderr
		out, err := client.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it is attached
			t.Fatal(err)
		}
		if err := unix.Kill(client.Process.Pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second) // a client has 2 s
		before := spent()
		testkit.Eventually(t, soon, "the program goes on", func() bool { return spent() != before })
		if err := unix.Kill(client.Process.Pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 1<<16); err == nil; {
			_, err = out.Read(buf)
		}
		if err := client.Wait(); err == nil || !strings.Contains(stderr.String(), "was disconnected") {
			t.Errorf("cpc attach: %v: %q", err, stderr.String())
		}
		if status := w.inspect(t, name, ".State.Status"); status != "running" {
			t.Errorf("the sandbox is %s", status)
		}
	})
}

// Neither stop, kill nor rm -f wait for a client that reads nothing.
func TestEndsPastAStoppedClient(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, end := range [][]string{{"stop", "-t", "1"}, {"kill"}, {"rm", "-f"}} {
			name := w.detach(t, nil, "sh", "-c", "trap '' TERM; while :; do echo "+strings.Repeat("x", 60)+"; done")
			client := w.cpc(t, "attach", "--no-stdin", name)
			out, err := client.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(client.Process.Pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			w.must(t, append(end, name)...)
			answered(t, end[0], begun)
			_ = client.Process.Kill()
			_ = client.Wait() // killed
		}
	})
}

// stop gives a program its time although it has closed its output.
func TestStopAfterOutputClosed(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "trap 'sleep 2; exit 7' TERM; echo ready; exec >&- 2>&-; while :; do sleep 0.1; done")
		testkit.Eventually(t, soon, "it is ready", func() bool { return w.must(t, "logs", name) != "" })
		w.must(t, "stop", "-t", "20", name)
		if code := w.inspect(t, name, ".State.ExitCode"); code != "7" {
			t.Errorf("exit code %s, want 7", code)
		}
	})
}
