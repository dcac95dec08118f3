// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"os"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what this machine is, whether or not it is ready for sandboxes.
type Machine struct {
	Name, Kernel, System string // host name, kernel's release, distribution
	Architecture         string // as uname has it
	CPUs                 int
	Memory               int64 // bytes
}

// Describe looks at the machine. What cannot be found out is empty.
func Describe() Machine {
	m := Machine{CPUs: goruntime.NumCPU(), System: system("/etc/os-release")}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Name = unix.ByteSliceToString(name.Nodename[:])
		m.Kernel = unix.ByteSliceToString(name.Release[:])
		m.Architecture = unix.ByteSliceToString(name.Machine[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit) //nolint:gosec // a machine's memory
	}
	return m
}

// system is the PRETTY_NAME of os-release(5).
func system(file string) string {
	f, err := os.Open(file) //nolint:gosec // the machine's own
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}
