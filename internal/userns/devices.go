// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// devices are those that every container has (OCI runtime specification, config-linux).
func devices() map[string]uint64 {
	return map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7),
		"random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0),
	}
}

// OwnDevices gives the calling process's mount namespace device nodes of its own, which
// runtimes then bind into containers in place of the host's. A node is a file:
// locks and watches on the host's would reach from one sandbox to another. Where the
// caller may not make devices the host's stay: only file systems of the host's root have
// any that work.
//
// Preconditions: a mount namespace of the caller's own, without propagation to the host's.
func OwnDevices() error {
	err := ownDevices()
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("device nodes of the sandbox: %w", err)
	}
	return nil
}

func ownDevices() (err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	defer func() { _ = unix.Close(dir) }()
	for name, number := range devices() {
		if err := unix.Mknodat(dir, name, unix.S_IFCHR|0o666, int(number)); err != nil {
			return os.NewSyscallError("mknod", err)
		}
		if err := unix.Fchmodat(dir, name, 0o666, 0); err != nil {
			return os.NewSyscallError("chmod", err)
		}
	}
	// Before Linux 6.15 only what is mounted somewhere can be mounted a second time.
	// On top of the root no path leads to it.
	if err := unix.MoveMount(dir, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	defer func() { err = errors.Join(err, unmountFD(dir)) }()
	for name := range devices() {
		if err := cover("/dev/"+name, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// unmountFD takes away the mount that a descriptor is of.
func unmountFD(fd int) error {
	return os.NewSyscallError("umount", unix.Unmount(fmt.Sprintf("/proc/self/fd/%d", fd), unix.MNT_DETACH))
}

// cover mounts a file over a path, if there is something.
func cover(path string, dir int, name string) error {
	tree, err := unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(tree) }()
	err = unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "move_mount", Path: path, Err: err}
	}
	return nil
}
