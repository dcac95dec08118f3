// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package procstat_test // testkit imports procstat

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestStopped(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if procstat.Stopped(pid) {
		t.Error("a process that runs is said to be stopped")
	}
	if s, err := procstat.Read(pid); err != nil || s.Parent != os.Getpid() || s.Start == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, testkit.Patience, "a process that is stopped is said to be", func() bool { return procstat.Stopped(pid) })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if procstat.Stopped(pid) {
		t.Error("a process that is gone is said to be stopped")
	}
}
