// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Settle makes the calling process at home in the namespaces that Start gave
// it: no mount of its own reaches the host, /proc shows its pid namespace, no
// group of the user's is left, nor the user's umask, which is not to decide what
// a sandbox or an image's files look like; and U0 has its share of the user's quotas
// (Quotas). It returns a directory descriptor of the
// host's /proc, through which host pids can be read; the caller closes it.
//
// Preconditions: called by a child of Start, after handoff.Receive.
func Settle(mode idmap.Mode) (hostProc *os.File, err error) {
	if os.Getpid() != 1 || os.Geteuid() != 0 {
		return nil, fmt.Errorf("settle: pid %d, uid %d: not started by cpc in namespaces of its own", os.Getpid(), os.Geteuid())
	}
	unix.Umask(0o022)
	if mode == idmap.Mapped {
		if err := unix.Setgroups(nil); err != nil {
			return nil, fmt.Errorf("drop groups: %w", err)
		}
	}
	// A slave still learns of host unmounts, so no device of the host's stays
	// busy because of a sandbox.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("detach mounts from the host: %w", err)
	}
	hostProc, err = os.OpenFile("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		_ = hostProc.Close()
		return nil, fmt.Errorf("mount /proc of the new pid namespace: %w", err)
	}
	if mode != idmap.Root {
		if err := limitQuotas(); err != nil {
			_ = hostProc.Close()
			return nil, err
		}
	}
	return hostProc, nil
}

// HostPID returns the pid that the host's /proc shows for the process behind
// pid, a pid of the caller's namespace.
func HostPID(hostProc *os.File, pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("host pid of %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// pidfd's fdinfo shows the pid as the procfs instance it is read from
	// counts, and "self" resolves in that instance too (proc(5)).
	name := fmt.Sprintf("self/fdinfo/%d", fd)
	info, err := unix.Openat(int(hostProc.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("host pid of %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(info), name)
	defer f.Close()
	var host int
	for {
		var key, value string
		if _, err := fmt.Fscan(f, &key, &value); err != nil {
			return 0, fmt.Errorf("host pid of %d: no Pid in fdinfo", pid)
		}
		if key == "Pid:" {
			if _, err := fmt.Sscan(value, &host); err != nil {
				return 0, fmt.Errorf("host pid of %d: %w", pid, err)
			}
			return host, nil
		}
	}
}
