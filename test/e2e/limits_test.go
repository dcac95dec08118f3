// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestMemoryHog(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.name(t)
		stdout, stderr, code := w.run(t, "run", "--name", name, "--memory", "64m", w.probeImage(t), "/probe", "memory", "200")
		if code != 137 || stdout != "" || !strings.Contains(stderr, "out of memory at the 64 MiB limit") {
			t.Errorf("exit status %d: %q %q", code, stdout, stderr)
		}
		if got := w.inspect(t, name, ".State.OOMKilled"); got != "true" {
			t.Errorf("OOMKilled %s", got)
		}
		if got := w.inspect(t, name, ".State.Reason"); !strings.Contains(got, "out of memory at the 64 MiB limit") {
			t.Errorf("reason %q", got)
		}
		if got := w.must(t, "ps", "-a"); !strings.Contains(got, "out of memory") {
			t.Errorf("ps -a: %s", got)
		}
		// What fits is let be.
		if got := w.must(t, "run", "--rm", "--memory", "256m", w.probeImage(t), "/probe", "memory", "100"); got != "taken\t100\n" {
			t.Errorf("within the limit: %q", got)
		}
	})
}

// Where it is asked for, a child that takes too much takes the sandbox with it, and
// tmpfs counts.
func TestMemoryOfChildrenAndFiles(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		for _, script := range []string{
			"/probe memory 200; sleep 1000; echo survived",
			"head -c 200m /dev/zero >/tmp/big; sleep 1000; echo survived",
		} {
			name := w.name(t)
			stdout, stderr, code := w.run(t, "run", "--name", name, "--memory", "64m", "--oom", "sandbox", "--tmpfs", "/tmp:size=1g", w.probeImage(t), "sh", "-c", script)
			if code != 137 || stdout != "" || !strings.Contains(stderr, "out of memory") {
				t.Errorf("%s: exit status %d: %q %q", script, code, stdout, stderr)
			}
			if got := w.inspect(t, name, ".State.OOMKilled"); got != "true" {
				t.Errorf("OOMKilled %s", got)
			}
		}
	})
}

// What takes too much ends, and nothing else does: not the shell, not its files, not the
// program that was there before. Whoever ran it is told, and may go on.
func TestOutOfMemoryGoesOn(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.name(t)
		w.must(t, "run", "-d", "--name", name, "--memory", "64m", w.probeImage(t), "sh", "-c", "echo work >/tmp/w; sleep 1000")
		_, stderr, code := w.run(t, "exec", name, "/probe", "memory", "200")
		if code != 137 || !strings.Contains(stderr, `killed: out of memory at the 64 MiB limit, which "probe" used up`) || !strings.Contains(stderr, "cpc update --memory") {
			t.Errorf("exit status %d: %q", code, stderr)
		}
		stdout, stderr, code := w.run(t, "exec", name, "sh", "-c", "/probe memory 200; cat /tmp/w")
		if code != 0 || stdout != "work\n" || !strings.Contains(stderr, "ended well, but the kernel had killed a process") {
			t.Errorf("exit status %d: %q %q", code, stdout, stderr)
		}
		if got := w.inspect(t, name, ".State.Status") + " " + w.inspect(t, name, ".State.OOMKilled") + " " + w.inspect(t, name, ".State.OOMKills"); got != "running true 2" {
			t.Errorf("state %s", got)
		}
		// The same sandbox, told otherwise.
		w.must(t, "update", "--oom", "sandbox", name)
		if got := w.inspect(t, name, ".HostConfig.Oom"); got != "sandbox" {
			t.Errorf("--oom %s", got)
		}
		if _, _, code := w.run(t, "exec", name, "/probe", "memory", "200"); code != 137 {
			t.Errorf("exit status %d", code)
		}
		if got := strings.TrimSpace(w.must(t, "wait", name)); got != "137" {
			t.Errorf("the sandbox ended with %s", got)
		}
		if got := w.inspect(t, name, ".State.Reason"); !strings.HasPrefix(got, "killed: out of memory") {
			t.Errorf("reason %q", got)
		}
	})
}

// Files in memory that nobody sized cannot use up the memory.
func TestFilesInMemoryAreBounded(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		fill := func(options ...string) string {
			args := append([]string{"run", "--rm", "--memory", "128m"}, options...)
			stdout, stderr, code := w.run(t, append(args, w.probeImage(t), "sh", "-c",
				"for d in /tmp $HOME /dev/shm; do head -c 200m /dev/zero >$d/x 2>/dev/null; done; echo still here")...)
			if len(options) == 0 && (code != 0 || stdout != "still here\n") {
				t.Errorf("exit status %d: %q %q", code, stdout, stderr)
			}
			return stderr
		}
		if said := fill(); strings.Contains(said, "out of memory") {
			t.Errorf("something was killed: %s", said)
		}
		if said := fill("--tmpfs", "/tmp:size=1g"); !strings.Contains(said, "out of memory") {
			t.Errorf("the control, with a size that the limit does not have: %s", said)
		}
	})
}

func TestForkBomb(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.name(t)
		out := w.must(t, "run", "--name", name, "--pids-limit", "40", w.probeImage(t), "/probe", "forks", "100")
		got := facts(out, "\t")
		if n := atoi(t, got["started"]); n < 2 || n > 39 || got["then"] != "EAGAIN" {
			t.Errorf("started %d processes, then %s", n, got["then"])
		}
		if hits := atoi(t, w.inspect(t, name, ".State.PidsLimitHits")); hits < 1 {
			t.Errorf("%d hits in inspect", hits)
		}
		// The shell's kind, bounded: 200 at most, where 30 may be.
		w.run(t, "run", "--rm", "--pids-limit", "30", base, "sh", "-c", "for i in $(seq 200); do sleep 3 & done 2>/dev/null; wait")
		if err := w.command("true").Run(); err != nil {
			t.Errorf("the host: %v", err)
		}
	})
}

// An exec that the limit leaves no process says so, each time, and in cpc's words only:
// nothing is tried that needs more processes and threads.
func TestExecAtTheLimit(t *testing.T) {
	const fill = `while (1) { my $p = fork(); last unless defined $p; sleep 1000 unless $p } $| = 1; print "full\n"; sleep 1000`
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--pids-limit", "20"}, "perl", "-e", fill)
		testkit.Eventually(t, soon, "the limit is reached", func() bool { return w.must(t, "logs", name) == "full\n" })
		for range 3 {
			stdout, stderr, code := w.run(t, "exec", name, "true")
			if code != 1 || stdout != "" || len(lines(stderr)) != 2 || !strings.Contains(stderr, "leaves no room for another program (20)") {
				t.Errorf("exit status %d: %s%s", code, stdout, stderr)
			}
		}
		w.must(t, "update", "--pids-limit", "30", name)
		w.must(t, "exec", name, "true")
	})
}

func TestCPUShare(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		out := w.must(t, "run", "--rm", "--cpus", "0.5", w.probeImage(t), "/probe", "spin", "2000")
		// One second is what there is. Other load on the machine can only make
		// it less, much less; what a period is begun with can make it a little more.
		if got := atoi(t, facts(out, "\t")["milliseconds"]); got < 1 || got > 1300 {
			t.Errorf("%d ms of processor time in 2 s at half a processor", got)
		}
	})
}

// The kernel's files hold what was asked for, and the defaults otherwise.
func TestLimitsInTheKernel(t *testing.T) {
	host, err := cgroups.Probe()
	if err != nil {
		t.Fatal(err)
	}
	if host.Layout == cgroups.Unified {
		t.Skip("the files of cgroup v1: this host has v2, which the VM tests read")
	}
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		for _, c := range []struct {
			options                  []string
			memory, quota, pids, cap string
		}{
			{nil, "2147483648", "100000", "100", ""},
			{[]string{"-m", "100m", "--cpus", "0.25", "--pids-limit", "17"}, "104857600", "25000", "17", ""},
			{[]string{"-m", "0", "--cpus", "0", "--pids-limit", "-1"}, "9223372036854771712", "-1", "max", ""},
		} {
			name := w.detach(t, c.options, "sleep", "60")
			group := "cpc-" + w.inspect(t, name, ".ID")
			for file, want := range map[string]string{
				"memory/" + group + "/memory.limit_in_bytes": c.memory, "cpu/" + group + "/cpu.cfs_quota_us": c.quota,
				"pids/" + group + "/pids.max": c.pids,
			} {
				got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", file))
				if strings.TrimSpace(string(got)) != want {
					t.Errorf("%v: %s: %q, want %q (%v)", c.options, file, got, want, err)
				}
			}
		}
	})
}

// On a host that cannot enforce a user's limits, a user is told so, and how
// to go on.
func TestLimitsOfAUser(t *testing.T) {
	host, err := cgroups.Probe()
	if err != nil {
		t.Fatal(err)
	}
	if host.Layout == cgroups.Unified {
		t.Skip("this host has cgroup v2: the VM tests have delegated limits")
	}
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "--rm", base, "true")
		cmd.Env = append(cmd.Env, "CPC_LIMITS=enforce")
		r := finish(t, cmd)
		if r.code != 125 || r.stdout != "" {
			t.Errorf("%+v", r)
		}
		for _, word := range []string{"memory", "cpu", "pids", "cannot be delegated to a user", "run as root", "cpc run --limits best-effort", "cpc doctor"} {
			if !strings.Contains(r.stderr, word) {
				t.Errorf("no word of %q: %s", word, r.stderr)
			}
		}
		name := w.name(t)
		cmd = w.cpc(t, "run", "--name", name, "--limits", "best-effort", base, "true")
		cmd.Env = append(cmd.Env, "CPC_LIMITS=enforce")
		if r := finish(t, cmd); r.code != 0 {
			t.Errorf("best effort: %+v", r)
		}
		if got := w.inspect(t, name, ".HostConfig.LimitsNotEnforced"); got != "[memory cpu pids]" {
			t.Errorf("not enforced: %s", got)
		}
	})
}

// The same in a view of the cgroups that is unified and has no controllers.
func TestLimitsWithoutControllers(t *testing.T) {
	const view = `set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec "$@"`
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		w.must(t, "run", "--rm", base, "true")
		in := func(more ...string) result {
			args := []string{"-m", "sh", "-c", view, "-", w.bin, "run", "--rm"}
			cmd := w.command("unshare", append(append(args, more...), base, "echo", "ran")...)
			return finish(t, cmd)
		}
		if r := in(); r.code != 125 || !strings.Contains(r.stderr, "memory") || !strings.Contains(r.stderr, "best-effort") {
			t.Errorf("%+v", r)
		}
		if r := in("--limits", "best-effort"); r.code != 0 || r.stdout != "ran\n" {
			t.Errorf("best effort: %+v", r)
		}
	})
}
