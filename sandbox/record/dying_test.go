// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDying(t *testing.T) {
	if dying(os.Getpid()) || dying(0) || dying(-1) || dying(1<<30) {
		t.Error("a process that lives, or none, is called dying")
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if dying(cmd.Process.Pid) {
		t.Error("dying before it was killed")
	}
	if err := unix.Kill(cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// At every moment from here on, until it is waited for.
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		if !dying(cmd.Process.Pid) {
			t.Error("not dying although it was killed")
			break
		}
	}
	_ = cmd.Wait()
}
