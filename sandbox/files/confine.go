// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Role is the first argument of a helper.
const Role = "files-helper"

// rootFD is the descriptor of the sandbox's root directory in the helper.
const rootFD = handoff.FirstFile

// kept are the capabilities that a helper works with, those of files; needed are what
// it needs before, to confine itself.
func kept() []uintptr {
	return []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID}
}

func needed() []uintptr {
	return append(kept(), unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_ADMIN)
}

// Main is the helper process. It returns its exit status.
func Main() int {
	if err := help(); err != nil {
		fmt.Fprintln(os.Stderr, visible.Error(err))
		return 1
	}
	return 0
}

func help() error {
	var o Order
	if err := handoff.Receive(Role, &o); err != nil { // by now this process is in its cgroup
		return err
	}
	unix.CloseOnExec(rootFD)
	if err := confine(o.Single); err != nil {
		return fmt.Errorf("confine the helper that copies files: %w", err)
	}
	root := os.NewFile(rootFD, "/")
	switch o.Do {
	case Get:
		return Send(context.Background(), os.Stdout, root, &o)
	case Put:
		return Receive(context.Background(), os.Stdin, root, &o)
	}
	return fmt.Errorf("malformed order %q", o.Do)
}

// confine takes from this process what it does not need for the sandbox's files.
func confine(single bool) error {
	if !single {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("groups: %w", err)
		}
	}
	if err := syscall.Setresgid(0, 0, 0); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	unix.Umask(0)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	if err := leaveFiles(); err != nil {
		return err
	}
	return keepCapabilities()
}

// leaveFiles makes an empty, read-only directory the root of this mount namespace.
func leaveFiles() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("own mounts: %w", err)
	}
	const anywhere = "/proc" // the monitor's, which exists
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY)
	if err := unix.Mount("cpc-empty", anywhere, "tmpfs", flags, "size=4k,nr_inodes=2,mode=0"); err != nil {
		return fmt.Errorf("mount an empty root: %w", err)
	}
	if err := unix.Chdir(anywhere); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	return unix.Chdir("/")
}

// keepCapabilities gives up all others, on every thread.
func keepCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range kept() {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	one, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err == nil && one != 1 {
		err = errors.New("no_new_privs is not set")
	}
	return err
}
