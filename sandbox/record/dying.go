// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// dyingTakes bounds the wait for a monitor that is on its way out.
const dyingTakes = 5 * time.Second

// abandoned reports whether nobody looks after the sandbox any more. A monitor
// that was killed keeps its lock for as long as the kernel takes to end all
// processes of its pid namespace: that is waited for, so that the first command
// after the kill finds the sandbox dead.
func (e *Entry) abandoned() bool {
	for deadline := time.Now().Add(dyingTakes); e.Attended(); time.Sleep(2 * time.Millisecond) {
		if !dying(e.Record.MonitorPID) || time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Dying reports whether the kernel is ending the sandbox's monitor, and not done.
func (e *Entry) Dying() bool { return e.Attended() && dying(e.Record.MonitorPID) }

const (
	pfExiting  = 0x4 // PF_EXITING of the kernel's sched.h
	sigkillBit = 1 << (unix.SIGKILL - 1)
)

// dying reports whether the process is being ended by the kernel.
func dying(pid int) bool {
	if pid <= 0 {
		return false
	}
	stat, err := procstat.Read(pid)
	if err != nil {
		return false // gone, and its lock with it; or of another pid namespace
	}
	return stat.Flags&pfExiting != 0 || stat.State == 'Z' || stat.State == 'X' || killed(pid)
}

// killed reports whether SIGKILL is waiting to be delivered.
func killed(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, _ := strings.Cut(line, ":"); key == "SigPnd" || key == "ShdPnd" {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err == nil && set&sigkillBit != 0 {
				return true
			}
		}
	}
	return false
}
