// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// procStat is what /proc/PID/stat tells, see proc_pid_stat(5). libcontainer's own
// reader wants a procfs that it has mounted itself, which hides processes that it
// may not trace.
type procStat struct {
	name   string
	state  byte
	parent int
	start  uint64 // in ticks
}

func readStat(pid int) (s procStat, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, err
	}
	before, after, ok := cutLast(string(data), ") ")
	_, name, _ := strings.Cut(before, "(")
	fields := strings.Fields(after) // from field 3 on, the state
	if !ok || len(fields) < 20 {
		return s, errors.New("/proc/PID/stat: not understood")
	}
	s.name, s.state = name, fields[0][0]
	s.parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return s, err
	}
	s.start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err
}

// cutLast cuts at the last separator: the name before it may contain any.
func cutLast(s, separator string) (before, after string, ok bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
