// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// lookScratch makes the scratch directory of a look. On a read-only store it is on a
// tmpfs over the store's own directory, in this mount namespace only.
//
// Preconditions: those of Mount.
func lookScratch(s *Store, id string) (dir string, remove func() error, err error) {
	covered, space := false, filepath.Join(s.Options().Dir, "scratch")
	if store.OnReadOnly(s.Options().Dir) {
		if err := unix.Mount("tmpfs", space, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
			return "", nil, fmt.Errorf("scratch space beside a read-only store: %w", err)
		}
		covered = true
	}
	remove = func() error {
		err := s.RemoveScratch(id)
		if covered {
			err = errors.Join(err, unix.Unmount(space, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
		}
		return err
	}
	if dir, err = s.NewScratch(id); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}
