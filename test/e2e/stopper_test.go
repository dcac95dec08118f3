// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stopper stops every process that comes into the sandbox, as soon as it has a pid.
const stopper = `my $m = $$; while (1) { for my $p ($m+1 .. $m+60) { kill("STOP", $p) and $m = $p > $m+40 ? $p-40 : $m } }`

// Root in a sandbox that stops all that joins it holds up no exec and leaves
// nothing of the runtime behind; and what it stops has the command's rights already.
func TestRootStopsWhatJoins(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--user", "0"}, "perl", "-e", stopper)
		monitor := w.hostPID(t, name, ".State.MonitorPid")
		init := w.hostPID(t, name, ".State.Pid")
		over, held := make(chan struct{}), make(chan string, 1)
		go lookForHeld(monitor, over, held)
		refused := 0
		for range 12 {
			begun := time.Now()
			_, stderr, code := w.run(t, "exec", "-d", name, "sleep", "1000")
			answered(t, "exec", begun)
			if code != 0 {
				if refused++; !strings.Contains(stderr, "has stopped a process that was to join it") {
					t.Errorf("status %d: %s", code, stderr)
				}
			}
			if refused == 2 {
				break
			}
		}
		close(over)
		if seen := <-held; refused > 0 && seen != rights(init) {
			t.Errorf("a process that was held has %q, the command %q", seen, rights(init))
		}
		for _, pid := range family(monitor) {
			if name := command(pid); pid != init && name != "sleep" {
				t.Errorf("process %d of the sandbox is left: %s", pid, name)
			}
		}
		w.must(t, "rm", "-f", name)
	})
}

// lookForHeld sends the rights of a process that is held between its arrival in
// the sandbox and the command, or nothing.
func lookForHeld(monitor int, over <-chan struct{}, held chan<- string) {
	for {
		select {
		case <-over:
			held <- ""
			return
		case <-time.After(50 * time.Millisecond):
		}
		for _, pid := range family(monitor) {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if strings.Contains(string(stat), ") T ") && command(pid) != "sleep" {
				held <- rights(pid)
				return
			}
		}
	}
}

// rights are a process's ids and capabilities, and that it gains none.
func rights(pid int) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var out []string
	for line := range strings.Lines(string(status)) {
		if key, _, _ := strings.Cut(line, ":"); strings.Contains(" Uid Gid CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs ", " "+key+" ") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, ", ")
}

func command(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name))
}

// family are the descendants of a process.
func family(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(append(all, n), family(n)...)
			}
		}
	}
	return all
}
