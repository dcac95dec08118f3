// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// skipUnified leaves what reads v1 files to the VM tests where there is v2.
func skipUnified(t *testing.T) {
	t.Helper()
	host, err := cgroups.Probe()
	if err != nil {
		t.Fatal(err)
	}
	if host.Layout == cgroups.Unified {
		t.Skip("the files of cgroup v1: this host has v2, which the VM tests read")
	}
}

// kernel compares files of a sandbox's v1 cgroups.
func (w *who) kernel(t *testing.T, name string, want map[string]string) {
	t.Helper()
	group := "cpc-" + w.inspect(t, name, ".ID")
	for file, value := range want {
		controller, file, _ := strings.Cut(file, "/")
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, group, file))
		if strings.TrimSpace(string(got)) != value {
			t.Errorf("%s: %q, want %q (%v)", file, got, value, err)
		}
	}
}

func TestFurtherLimitsInTheKernel(t *testing.T) {
	skipUnified(t)
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{
			"--cpu-shares", "512", "--cpu-quota", "20000", "--cpu-period", "50000", "--cpuset-cpus", "0", "--cpuset-mems", "0",
			"--memory-reservation", "64m",
		}, "sleep", "60")
		w.kernel(t, name, map[string]string{
			"cpu/cpu.shares": "512", "cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "50000",
			"cpuset/cpuset.cpus": "0", "cpuset/cpuset.mems": "0", "memory/memory.soft_limit_in_bytes": "67108864",
		})
		if got := w.inspect(t, name, ".HostConfig.CpuShares"); got != "512" {
			t.Errorf("inspect: %s shares", got)
		}
		// What v1 has no limit for is said, and stops the run.
		if _, stderr, code := w.run(t, "run", "--rm", "--memory-high", "1g", base, "true"); code != 125 || !strings.Contains(stderr, "memory-high") {
			t.Errorf("memory.high on v1: %d %q", code, stderr)
		}
	})
}

func TestUpdate(t *testing.T) {
	skipUnified(t)
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"-m", "128m", "--tmpfs", "/tmp:size=100m"}, "sh", "-c", "head -c 60m /dev/zero >/tmp/x; sleep 60")
		if got := w.must(t, "update", "-m", "200m", "--pids-limit", "50", "--cpus", "0.5", "--cpuset-cpus", "0", name); got != name+"\n" {
			t.Errorf("update says %q", got)
		}
		changed := map[string]string{
			"memory/memory.limit_in_bytes": "209715200", "pids/pids.max": "50", "cpu/cpu.cfs_quota_us": "50000", "cpuset/cpuset.cpus": "0",
		}
		w.kernel(t, name, changed)
		if got := w.inspect(t, name, ".HostConfig.Memory"); got != "209715200" {
			t.Errorf("inspect: memory %s", got)
		}
		// Refused together: none of it holds.
		testkit.Eventually(t, testkit.Patience, "the file is written", func() bool {
			return w.must(t, "exec", name, "stat", "-c", "%s", "/tmp/x") == "62914560\n"
		})
		if _, stderr, code := w.run(t, "update", "--pids-limit", "60", "-m", "20m", name); code != 1 || !strings.Contains(stderr, "memory") {
			t.Errorf("less than is used: %d %q", code, stderr)
		}
		w.kernel(t, name, changed)
		if got := w.inspect(t, name, ".HostConfig.PidsLimit"); got != "50" {
			t.Errorf("inspect: pids limit %s", got)
		}
		w.must(t, "update", "-m", "0", "--pids-limit", "-1", "--cpus", "0", name)
		w.kernel(t, name, map[string]string{
			"memory/memory.limit_in_bytes": "9223372036854771712", "pids/pids.max": "max", "cpu/cpu.cfs_quota_us": "-1",
		})
	})
}

func TestPause(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sh", "-c", "while :; do date +%s%N; sleep 0.02; done")
		w.must(t, "pause", name)
		if got := w.must(t, "ps"); !strings.Contains(got, "(Paused)") {
			t.Errorf("ps: %s", got)
		}
		before := w.must(t, "logs", name)
		time.Sleep(300 * time.Millisecond)
		if after := w.must(t, "logs", name); after != before {
			t.Error("it prints while it is paused")
		}
		for _, args := range [][]string{{"pause", name}, {"exec", name, "true"}, {"attach", name}} {
			if _, stderr, code := w.run(t, args...); code == 0 || !strings.Contains(stderr, "cpc unpause") {
				t.Errorf("%v: %d %q", args, code, stderr)
			}
		}
		w.must(t, "unpause", name)
		w.must(t, "exec", name, "true")
		w.must(t, "pause", name)
		w.must(t, "stop", "-t", "2", name)
		// A monitor that is killed takes a paused sandbox with it, too.
		name = w.detach(t, nil, "sleep", "60")
		w.must(t, "pause", name)
		monitor := atoi(t, w.inspect(t, name, ".State.MonitorPid"))
		if err := unix.Kill(monitor, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := w.inspect(t, name, ".State.Status"); got != "exited" {
			t.Errorf("status %s after the monitor's death", got)
		}
	})
}
