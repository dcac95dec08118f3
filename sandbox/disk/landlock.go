// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readable = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	writable = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	// firstABI are the accesses that every Landlock handles.
	firstABI = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
)

// restrict takes from the calling thread, and what it starts, every access to
// files but these: the image, and programs, libraries and their settings. A
// kernel without Landlock (Linux 5.13) leaves the other confinement. /proc is
// where the ids of the new namespace are written, before the exec; after it the
// server is an ordinary user there.
func restrict(image string) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: firstABI}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), 8, 0)
	if errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EOPNOTSUPP) {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, rule := range []struct {
		path   string
		access uint64
	}{
		{image, writable},
		{"/dev/null", writable},
		{"/proc", readable | writable},
		{"/usr", readable},
		{"/bin", readable},
		{"/lib", readable},
		{"/lib64", readable},
		{"/etc", readable},
	} {
		if err := allow(int(fd), rule.path, rule.access); err != nil {
			return fmt.Errorf("landlock: %s: %w", rule.path, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)} //nolint:gosec // a descriptor
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
