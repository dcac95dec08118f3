// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A monitor that somebody has stopped holds up no command: each says what to do,
// and rm -f ends the sandbox.
func TestStoppedMonitor(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		monitor := w.hostPID(t, name, ".State.MonitorPid")
		init := w.hostPID(t, name, ".State.Pid")
		kill(t, monitor, unix.SIGSTOP)
		eventually(t, soon, "it is stopped", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", monitor))
			return err == nil && strings.Contains(string(stat), ") T ")
		})
		var all sync.WaitGroup
		for _, command := range []string{"exec %s true", "stop -t 1 %s", "kill %s", "wait %s", "attach %s", "net show %s", "pause %s"} {
			all.Go(func() {
				begun := time.Now()
				_, stderr, code := w.run(t, strings.Fields(fmt.Sprintf(command, name))...)
				if code != 1 || !strings.Contains(stderr, fmt.Sprintf("kill -CONT %d", monitor)) {
					t.Errorf("cpc %s: status %d: %s", command, code, stderr)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("cpc %s took %v", command, took)
				}
			})
		}
		all.Wait()
		w.must(t, "rm", "-f", name)
		eventually(t, soon, "nothing of it is left", func() bool { return !alive(init) && !alive(monitor) })
		if out := w.must(t, "ps", "-aq", "--no-trunc", "--filter", "name="+name); out != "" {
			t.Errorf("it is still known: %s", out)
		}
	})
}
