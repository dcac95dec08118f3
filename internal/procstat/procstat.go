// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package procstat reads what /proc/PID/stat tells of a process, see
// proc_pid_stat(5). libcontainer's own reader wants a procfs that it has mounted
// itself, which hides processes that it may not trace.
package procstat

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// Stat is what is told of a process. Its name is the process's own choice.
type Stat struct {
	Name   string
	State  byte // R, S, D, T (stopped by a signal), t (traced), Z, X, …
	Parent int
	Flags  uint64 // PF_… of the kernel's sched.h
	Start  uint64 // in ticks since the machine was booted
	Used   uint64 // of the processor, in ticks, by the process and by the kernel for it
	Exit   int    // of a zombie, as wait(2) has it; 0 if that is not for this process to see
}

// Read reads a process's. The error is os.ErrNotExist, or ESRCH, of one that is gone.
func Read(pid int) (Stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return parse(string(data))
}

// Stopped reports whether a signal has stopped the process.
func Stopped(pid int) bool {
	s, err := Read(pid)
	return err == nil && s.State == 'T'
}

func parse(text string) (s Stat, err error) {
	end := strings.LastIndex(text, ") ") // the name before it may contain any
	if end < 0 {
		return s, errNotUnderstood
	}
	_, s.Name, _ = strings.Cut(text[:end], "(")
	fields := strings.Fields(text[end+2:]) // from field 3 on, the state
	if len(fields) < 20 {
		return s, errNotUnderstood
	}
	s.State = fields[0][0]
	if s.Parent, err = strconv.Atoi(fields[1]); err != nil {
		return s, errNotUnderstood
	}
	if s.Flags, err = strconv.ParseUint(fields[6], 10, 64); err != nil {
		return s, errNotUnderstood
	}
	var own, kernel uint64
	if own, err = strconv.ParseUint(fields[11], 10, 64); err != nil {
		return s, errNotUnderstood
	}
	if kernel, err = strconv.ParseUint(fields[12], 10, 64); err != nil {
		return s, errNotUnderstood
	}
	s.Used = own + kernel
	if s.Start, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return s, errNotUnderstood
	}
	if len(fields) >= 50 {
		if s.Exit, err = strconv.Atoi(fields[49]); err != nil {
			return s, errNotUnderstood
		}
	}
	return s, nil
}

var errNotUnderstood = errors.New("/proc/PID/stat: not understood")
