// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestLogs(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "printf 'one\\ntwo\\nthree\\0\\377'; sleep 0.05; printf 'err\\n' >&2")
		w.must(t, "wait", name)
		const all = "one\ntwo\nthree\x00\xff"
		if r := finish(t, w.cpc(t, "logs", name)); r.stdout != all || r.stderr != "err\n" {
			t.Errorf("logs: %q and %q", r.stdout, r.stderr)
		}
		if r := finish(t, w.cpc(t, "logs", "-f", name)); r.stdout != all || r.stderr != "err\n" {
			t.Errorf("logs -f: %q and %q", r.stdout, r.stderr)
		}
		r := finish(t, w.cpc(t, "logs", "-t", name))
		if lines := strings.SplitAfter(r.stdout, "\n"); len(lines) != 3 || !strings.HasSuffix(lines[1], " two\n") {
			t.Errorf("logs -t: %q", r.stdout)
		} else if _, err := time.Parse(time.RFC3339Nano, strings.Fields(lines[0])[0]); err != nil {
			t.Error(err)
		}
	})
}

func TestLogsTail(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "seq 1 100; printf last")
		w.must(t, "wait", name)
		for tail, want := range map[string]string{
			"0": "", "1": "last", "3": "99\n100\nlast", "all": numbers(100) + "last", "1000": numbers(100) + "last",
		} {
			if out := w.must(t, "logs", "--tail", tail, name); out != want {
				t.Errorf("--tail %s: %d bytes, %.40q", tail, len(out), out)
			}
			if out := w.must(t, "logs", "-f", "-n", tail, name); out != want {
				t.Errorf("-f -n %s: %d bytes, %.40q", tail, len(out), out)
			}
		}
	})
}

func numbers(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		b.WriteString(itoa(i) + "\n")
	}
	return b.String()
}

// TestLogsFollow: the last byte is shown, without a newline, also of a burst,
// and also of a sandbox that is removed at its end.
func TestLogsFollow(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, options := range [][]string{nil, {"--rm"}} {
			name := w.detach(t, options, "sh", "-c", "printf begin; sleep 0.7; head -c 3000000 /dev/zero | tr '\\0' x; printf end")
			out := w.must(t, "logs", "-f", name)
			want := "begin" + strings.Repeat("x", 3000000) + "end"
			if out != want {
				t.Errorf("%v: %d bytes that end with %q, want %d", options, len(out), out[max(0, len(out)-9):], len(want))
			}
		}
	})
}

// TestLogsFollowAtOnce: what is printed is shown when it is printed.
func TestLogsFollowAtOnce(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-i", "--rm"}, "sh", "-c", "printf now; read x")
		cmd := w.cpc(t, "logs", "-f", name)
		var out lockedBuffer
		cmd.Stdout = &out
		done := startBackground(t, cmd)
		testkit.Eventually(t, 3*time.Second, "the output is shown", func() bool { return out.String() == "now" })
		w.must(t, "rm", "-f", name)
		select {
		case <-done:
		case <-time.After(soon):
			t.Error("logs -f goes on after the end")
		}
	})
}

// TestLogsAreBounded: a sandbox cannot fill the host's disk by printing.
func TestLogsAreBounded(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "head -c 40000000 /dev/zero; printf end")
		if code := strings.TrimSpace(w.must(t, "wait", name)); code != "0" {
			t.Fatalf("exit status %s", code)
		}
		dir := filepath.Dir(w.inspect(t, name, ".LogPath"))
		var size int64
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if size > 17<<20 || size < 8<<20 {
			t.Errorf("the log takes %d bytes", size)
		}
		out := w.must(t, "logs", name)
		if !strings.HasSuffix(out, "\x00end") || len(out) < 7<<20 {
			t.Errorf("%d bytes of log", len(out))
		}
	})
}

func TestLogsOfTerminal(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-t"}, "sh", "-c", "echo out; echo err >&2")
		w.must(t, "wait", name)
		if r := finish(t, w.cpc(t, "logs", name)); r.stdout != "out\r\nerr\r\n" || r.stderr != "" {
			t.Errorf("%+v", r)
		}
		var garbage bytes.Buffer
		cmd := w.cpc(t, "logs", name)
		cmd.Stdout = &garbage
		if r := finish(t, cmd); r.code != 0 || garbage.Len() != 10 {
			t.Errorf("%d, %q", r.code, garbage.String())
		}
	})
}
