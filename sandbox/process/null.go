// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownNull opens a null device that nobody else has: some runtimes (crun before
// 1.9.1, runc before 1.1) give the standard streams they are started with, the
// host's /dev/null among them, to the container's user. Who may make no device
// cannot give one away either, and gets the host's.
func ownNull() (*os.File, error) {
	if os.Geteuid() == 0 {
		if f, err := newNull(); err == nil {
			return f, nil
		}
	}
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 && mayGiveAway(f) {
		// Root that may change the owner of a device, but make none.
		if cerr := f.Close(); cerr != nil {
			return nil, cerr
		}
		return emptyFile()
	}
	return f, nil
}

// newNull makes the device on a file system that is mounted nowhere, and goes
// with the descriptor.
func newNull() (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer func() { _ = unix.Close(dir) }()
	if err := unix.Mknodat(dir, "null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return nil, os.NewSyscallError("mknod", err)
	}
	if err := unix.Fchmodat(dir, "null", 0o666, 0); err != nil {
		return nil, os.NewSyscallError("chmod", err)
	}
	fd, err := unix.Openat(dir, "null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}

// mayGiveAway says whether this process owns a file: in a user namespace, root of
// the host is somebody else.
func mayGiveAway(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Uid == 0
}

// emptyFile is read as /dev/null is. What a runtime writes to it is little: a
// program's own output never goes there.
func emptyFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("null", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("stand-in for %s: %w", os.DevNull, os.NewSyscallError("memfd_create", err))
	}
	// Opened anew, so that the program finds it at its end whatever was written.
	defer func() { _ = unix.Close(fd) }()
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDWR|os.O_APPEND, 0)
}
