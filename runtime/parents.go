// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the cgroups are mounted. It is locked, shared, by whoever
// makes a container, and exclusively by whoever removes directories above its
// cgroups, so that none goes between its making and that of what is in it. The lock
// is waited for by nobody: at worst a directory is left, as libcontainer leaves all.
const cgroupRoot = "/sys/fs/cgroup"

// newParents are the directories above these cgroups that are not there, the
// deepest first.
func newParents(paths map[string]string) (missing []string) {
	for _, path := range paths {
		for dir := filepath.Dir(path); len(dir) > len(cgroupRoot); dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				break
			}
			missing = append(missing, dir)
		}
	}
	slices.SortFunc(missing, func(a, b string) int { return len(b) - len(a) })
	return missing
}

// startHolding is start while nobody removes a directory above the cgroups.
func (l *launch) startHolding(how starter) (*supervisor, error) {
	if release := lockCgroups(unix.LOCK_SH); release != nil {
		defer release()
	}
	return l.start(how)
}

// lockCgroups returns nil where others have the lock.
func lockCgroups(kind int) (release func()) {
	fd, err := unix.Open(cgroupRoot, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	release = func() { _ = unix.Close(fd) }
	if unix.Flock(fd, kind|unix.LOCK_NB) != nil {
		release()
		return nil
	}
	return release
}

// removeParents removes directories that create has made, unless others use them.
func (i *intent) removeParents() {
	if len(i.Parents) == 0 {
		return
	}
	release := lockCgroups(unix.LOCK_EX)
	if release == nil {
		return
	}
	defer release()
	for _, dir := range i.Parents {
		_ = unix.Rmdir(dir) // not empty, or gone
	}
}
