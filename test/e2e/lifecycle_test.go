// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestRunStatus(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for script, want := range map[string]int{
			"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -SEGV $$; sleep 1; exit 1": 1, // pid 1 is not ended by its own signals
		} {
			for _, tty := range [][]string{nil, {"-t"}} {
				args := append(append([]string{"run", "--rm"}, tty...), base, "sh", "-c", script)
				if _, stderr, code := w.run(t, args...); code != want {
					t.Errorf("%v %q: exit status %d, want %d; %s", tty, script, code, want, stderr)
				}
			}
		}
		if _, _, code := w.run(t, "run", "--rm", "--init", base, "sh", "-c", "kill -TERM $$"); code != 143 {
			t.Errorf("a program under --init that SIGTERM ended: exit status %d, want 143", code)
		}
	})
}

func TestWait(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		a := w.detach(t, nil, "sh", "-c", "sleep 0.3; exit 7")
		b := w.detach(t, nil, "sh", "-c", "exit 255")
		c := w.detach(t, []string{"--rm"}, "sh", "-c", "sleep 1; exit 3")
		if out := w.must(t, "wait", a, b, c); out != "7\n255\n3\n" {
			t.Errorf("wait printed %q", out)
		}
		if out := w.must(t, "wait", a); out != "7\n" {
			t.Errorf("wait again printed %q", out)
		}
		out, stderr, code := w.run(t, "wait", "nosuch-sandbox", b)
		if out != "255\n" || code != 1 || !strings.Contains(stderr, "nosuch-sandbox") {
			t.Errorf("with an unknown one: %q, %q, %d", out, stderr, code)
		}
	})
}

// TestWaitAtTheEnd asks just when the sandbox ends, whatever that meets.
func TestWaitAtTheEnd(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		for range 20 {
			name := w.detach(t, nil, "sh", "-c", "exit 9")
			if out := w.must(t, "wait", name); out != "9\n" {
				t.Fatalf("wait printed %q", out)
			}
			w.must(t, "stop", name)
			w.must(t, "rm", name)
		}
	})
}

func TestWaitForOneWhoseMonitorDies(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		monitor := w.hostPID(t, name, ".State.MonitorPid")
		cmd := w.cpc(t, "wait", name)
		var out, errs lockedBuffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		done := startBackground(t, cmd)
		time.Sleep(300 * time.Millisecond)
		kill(t, monitor, unix.SIGKILL)
		select {
		case <-done:
		case <-time.After(soon):
			t.Fatal("wait goes on")
		}
		if out.String() != "137\n" || exitCode(cmd) != 0 {
			t.Errorf("wait printed %q, exit status %d; %s", out.String(), exitCode(cmd), errs.String())
		}
		if reason := w.inspect(t, name, ".State.Reason"); !strings.Contains(reason, "monitor") {
			t.Errorf("reason %q", reason)
		}
	})
}

const loop = "while :; do sleep 0.05; done"

func TestStop(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, c := range []struct {
			what    string
			options []string
			script  string
			stop    []string
			code    string
		}{
			{"handles SIGTERM", nil, "trap 'exit 5' TERM; echo; " + loop, nil, "5"},
			{"ignores SIGTERM", []string{"--stop-timeout", "1000"}, "trap '' TERM; echo; " + loop, []string{"-t", "1"}, "137"},
			{"own signal", []string{"--stop-signal", "USR1"}, "trap 'exit 6' USR1; echo; " + loop, nil, "6"},
			{"signal of stop", nil, "trap 'exit 8' INT; echo; " + loop, []string{"-s", "INT"}, "8"},
			{"no time", []string{"--stop-timeout", "1000"}, "trap '' TERM; echo; " + loop, []string{"-t", "0"}, "137"},
			{"under init", []string{"--init"}, "echo; exec sleep 1000", nil, "143"},
		} {
			name := w.detach(t, c.options, "sh", "-c", c.script)
			testkit.Eventually(t, soon, "it is ready", func() bool { return w.must(t, "logs", name) != "" })
			w.must(t, append(append([]string{"stop"}, c.stop...), name)...)
			if code := w.inspect(t, name, ".State.ExitCode"); code != c.code {
				t.Errorf("%s: exit code %s, want %s", c.what, code, c.code)
			}
			w.must(t, "stop", name) // has ended: no error
		}
		w.stopTimeout(t)
	})
}

// stopTimeout: a sandbox's own time is less than the default of ten seconds. A busy
// machine is asked again; where the flag means nothing, each stop takes ten.
func (w *who) stopTimeout(t *testing.T) {
	t.Helper()
	for tries := 1; ; tries++ {
		name := w.detach(t, []string{"--stop-timeout", "1"}, "sh", "-c", "trap '' TERM; echo; "+loop)
		testkit.Eventually(t, soon, "it is ready", func() bool { return w.must(t, "logs", name) != "" })
		begun := time.Now()
		w.must(t, "stop", name)
		took := time.Since(begun)
		if code := w.inspect(t, name, ".State.ExitCode"); code != "137" {
			t.Errorf("own timeout: exit code %s", code)
		}
		if took < 10*time.Second {
			return
		}
		if tries == 3 {
			t.Fatalf("own timeout: stop took %v", took)
		}
	}
}

func TestKill(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "trap 'echo usr' USR1; trap 'exit 2' 12; echo; "+loop)
		testkit.Eventually(t, soon, "it is ready", func() bool { return w.must(t, "logs", name) != "" })
		w.must(t, "kill", "-s", "USR1", name)
		testkit.Eventually(t, soon, "the signal arrives", func() bool { return strings.Contains(w.must(t, "logs", name), "usr") })
		w.must(t, "kill", "--signal", "12", name)
		if out := w.must(t, "wait", name); out != "2\n" {
			t.Errorf("wait printed %q", out)
		}
		if _, _, code := w.run(t, "kill", "-s", "NOSUCH", name); code != 125 {
			t.Errorf("a signal that does not exist: exit status %d", code)
		}
	})
}

func TestRemove(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		running := w.detach(t, nil, "sleep", "1000")
		ended := w.detach(t, nil, "true")
		w.must(t, "wait", ended)
		_, stderr, code := w.run(t, "rm", running, ended)
		if code != 1 || !strings.Contains(stderr, running) {
			t.Errorf("rm of a running one: exit status %d, %q", code, stderr)
		}
		if out := w.must(t, "ps", "-aq"); len(lines(out)) != 1 {
			t.Errorf("ps -aq printed %q", out)
		}
		w.must(t, "rm", "-f", running, "nosuch-sandbox")
		if _, _, code := w.run(t, "rm", "nosuch-sandbox"); code != 1 {
			t.Errorf("rm of nothing: exit status %d", code)
		}
		w.leftovers(t)
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		running := w.detach(t, []string{"-l", "kind=a"}, "sleep", "1000")
		ended := w.detach(t, []string{"-l", "kind=b"}, "sh", "-c", "exit 3")
		w.must(t, "wait", ended)
		names := func(args ...string) string {
			return strings.Join(lines(w.must(t, append([]string{"ps", "--format", "{{.Names}}"}, args...)...)), " ")
		}
		for args, want := range map[string]string{
			"": running, "-a": ended + " " + running, "-a -f status=exited": ended, "-a -f label=kind=a": running,
			"-a -f name=" + ended: ended, "-f ancestor=" + base: running, "-f ancestor=other": "",
		} {
			if got := names(strings.Fields(args)...); got != want {
				t.Errorf("ps %s: %q, want %q", args, got, want)
			}
		}
		var rows []map[string]any
		if err := json.Unmarshal([]byte(w.must(t, "ps", "-a", "--json", "--no-trunc")), &rows); err != nil || len(rows) != 2 {
			t.Fatalf("ps --json: %v, %v", rows, err)
		}
		if id, _ := rows[0]["ID"].(string); rows[0]["Names"] != ended || rows[0]["State"] != "exited" || len(id) != 64 {
			t.Errorf("ps --json: %v", rows[0])
		}
		table := w.must(t, "ps", "-a")
		if !strings.HasPrefix(table, "SANDBOX ID") || !strings.Contains(table, "Exited (3)") || !strings.Contains(table, "Up ") {
			t.Errorf("ps -a: %s", table)
		}
		if out := w.must(t, "ps", "-q", "--no-trunc"); len(strings.TrimSpace(out)) != 64 {
			t.Errorf("ps -q --no-trunc: %q", out)
		}
	})
}

func TestInspect(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-m", "64m", "--cpus", "0.5", "-l", "a=b", "-h", "box"}, "sh", "-c", "exit 3")
		w.must(t, "wait", name)
		var all []struct {
			ID, Name string
			State    struct {
				Status   string
				Running  bool
				ExitCode int
				Pid      int
			}
			Config struct {
				Hostname string
				Labels   map[string]string
			}
			HostConfig struct{ Memory, NanoCpus int64 }
			Path       string
			Args       []string
		}
		if err := json.Unmarshal([]byte(w.must(t, "inspect", name)), &all); err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		i := all[0]
		if i.Name != name || i.State.Status != "exited" || i.State.Running || i.State.ExitCode != 3 || i.State.Pid != 0 {
			t.Errorf("%+v", i)
		}
		if i.Config.Hostname != "box" || i.Config.Labels["a"] != "b" || i.HostConfig.Memory != 64*mega || i.HostConfig.NanoCpus != 5e8 {
			t.Errorf("%+v", i)
		}
		if i.Path != "sh" || len(i.Args) != 2 {
			t.Errorf("%+v", i)
		}
		if out := w.inspect(t, name, ".State.ExitCode"); out != "3" {
			t.Errorf("--format printed %q", out)
		}
		out, _, code := w.run(t, "inspect", "nosuch-sandbox")
		if code != 1 || strings.TrimSpace(out) != "[]" {
			t.Errorf("of nothing: %d, %q", code, out)
		}
	})
}

func TestInit(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		// The parent ends before its child, which is then init's to reap.
		const zombies = `for i in 1 2 3 4 5; do sh -c 'sh -c "sleep 0.1" & exit 0'; done; sleep 0.6
			for i in $(seq 300); do n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); [ $n = 0 ] && break; sleep 0.1; done; echo $n`
		if out := w.in(t, zombies, "--init"); out != "0\n" {
			t.Errorf("zombies: %q", out)
		}
		if out := w.in(t, "tr '\\0' ' ' </proc/1/cmdline; echo; echo $$", "--init"); strings.HasPrefix(out, "sh") || strings.Contains(out, "\n1\n") {
			t.Errorf("pid 1 is %q", out)
		}
		if out := w.in(t, "echo $$"); out != "1\n" {
			t.Errorf("without --init: pid %q", out)
		}
	})
}

func TestIDFile(t *testing.T) {
	eachOf(t, []string{root, single}, func(t *testing.T, w *who) {
		for _, options := range [][]string{{"-d"}, nil} {
			file := filepath.Join(w.home, "id-"+itoa(len(options)))
			w.must(t, append(append([]string{"run"}, options...), "--cidfile", file, base, "true")...)
			id, err := w.command("cat", file).Output()
			if err != nil || len(id) != 64 {
				t.Errorf("%v: %q, %v", options, id, err)
			}
			w.must(t, "wait", string(id))
			_, stderr, code := w.run(t, "run", "--cidfile", file, base, "true")
			if code != 125 || !strings.Contains(stderr, file) {
				t.Errorf("the file exists: %d, %q", code, stderr)
			}
		}
	})
}

// TestInterruptedStart: Ctrl-C while a sandbox is being started leaves nothing.
func TestInterruptedStart(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		for delay := range 8 {
			cmd := w.cpc(t, "run", "-it", base, "sh", "-c", "sleep 1000")
			p := startTerminal(t, w, cmd)
			time.Sleep(time.Duration(delay*8) * time.Millisecond)
			p.send("\x03")
			for begun := time.Now(); !p.ended(300 * time.Millisecond); p.send("\x03") {
				if time.Since(begun) > soon {
					t.Fatalf("after %d ms: does not end; %q", delay*8, p.output())
				}
			}
			if p.raw() {
				t.Errorf("after %d ms: the terminal is raw", delay*8)
			}
			w.clear(t)
			w.leftovers(t)
		}
	})
}
