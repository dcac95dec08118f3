// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// What a runtime has started and something keeps stopped is killed with it; what
// is stopped for an instant is left alone.
func TestStoppedJoining(t *testing.T) {
	for script, killed := range map[string]bool{
		"sleep 1000 & kill -STOP $!; wait":                                        true,
		"(sleep 1000 & kill -STOP $!; wait) & wait":                               true,
		"sleep 3 & kill -STOP $!; sleep 0.7; kill -CONT $!; wait; exit 0":         false,
		"for i in 1 2 3; do sleep 0.4 & kill -STOP $!; kill -CONT $!; wait; done": false,
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			held := &joining{takes: time.Second, kill: cancel}
			cmd := exec.CommandContext(ctx, "sh", "-c", script)
			var family []int
			cmd.Cancel = func() error {
				family = descendants(cmd.Process.Pid)
				return held.killAll(cmd.Process.Pid)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stop := held.watch(cmd.Process.Pid)
			err := cmd.Wait()
			stop()
			held.reap()
			if held.stopped.Load() != killed || (err != nil) != killed {
				t.Fatalf("killed %v, want %v: %v", held.stopped.Load(), killed, err)
			}
			for _, pid := range slices.Compact(family) {
				if !testkit.Ended(testkit.Patience, pid) {
					t.Fatalf("process %d is left", pid)
				}
			}
		})
	}
}
