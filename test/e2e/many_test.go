// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// hostState is what must be the same after many runs.
func hostState(t *testing.T, w *who) map[string]int {
	t.Helper()
	count := func(pattern string) int {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]int{
		"mounts": len(lines(string(mounts))), "cgroups": len(w.cgroups()), "processes": len(w.processes()),
		"named network namespaces": count("/run/netns/*"), "data": count(w.data + "/*/*"), "state": count(w.state + "/*/*"),
	}
}

func TestManyInARow(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		w.in(t, "true")
		w.leftovers(t) // its monitor has ended, too
		before := hostState(t, w)
		for range 30 {
			if got := w.in(t, "echo hello"); got != "hello\n" {
				t.Fatalf("%q", got)
			}
		}
		w.leftovers(t)
		for name, n := range hostState(t, w) {
			if n != before[name] {
				t.Errorf("%s: %d before, %d after", name, before[name], n)
			}
		}
	})
}

func TestTenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				cmd := w.cpc(t, "run", "--rm", base, "sh", "-c", "echo begun; sleep 1; echo done")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		w.leftovers(t)
	})
}

// A monitor's open files do not grow with what is done to its sandbox.
func TestMonitorLeaksNoDescriptors(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "60")
		fds := w.inspect(t, name, ".State.MonitorPid")
		count := func() int {
			names, err := os.ReadDir("/proc/" + fds + "/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(names)
		}
		w.must(t, "exec", name, "true")
		before := count()
		for range 15 {
			w.must(t, "exec", name, "true")
			w.must(t, "exec", "-d", name, "true")
			w.must(t, "logs", name)
		}
		testkit.Eventually(t, commandTimeout/30, "the monitor has closed what it opened", func() bool { return count() <= before })
	})
}
