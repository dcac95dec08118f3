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
	flagsField = 6   // of proc(5)'s stat, counted from the state behind the name
	sigkillBit = 1 << (unix.SIGKILL - 1)
)

// dying reports whether the process is being ended by the kernel.
func dying(pid int) bool {
	if pid <= 0 {
		return false
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false // gone, and its lock with it; or of another pid namespace
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= flagsField {
		return false
	}
	flags, err := strconv.ParseUint(fields[flagsField], 10, 64)
	return err == nil && flags&pfExiting != 0 || strings.Contains("ZX", fields[0]) || killed(pid)
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
