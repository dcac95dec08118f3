// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// MountCache mounts a cache mount on target, so that files in it appear with the
// caller's ids of the sandbox and are kept with those of the store.
func MountCache(m *CacheMount, target string) error {
	mapping := m.Mapping()
	if !mapping.NeedsIDMappedLayers() {
		if err := unix.Mount(m.Dir(), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind cache mount: %w", err)
		}
		return nil
	}
	return mountMapped(m.Dir(), target, mapping)
}

// mountMapped mounts dir on target, idmapped.
func mountMapped(dir, target string, m idmap.Mapping) (err error) {
	userns, err := newUserns(m)
	if err != nil {
		return fmt.Errorf("user namespace for idmapped mounts: %w", err)
	}
	defer func() { err = errors.Join(err, userns.Close()) }()
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}
