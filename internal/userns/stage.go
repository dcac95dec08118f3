// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Stage mounts a tmpfs of up to 64 MiB, in the caller's mount namespace only, that the
// root of a sandbox's user namespace can pass through. cpc's own directories
// are closed to everybody but the user, and that root is somebody else; so the
// sandbox's root file system is mounted below the stage.
//
// The mount hides one of a few directories that a host has by convention and
// cpc does not need: one that none of the paths in use lies in.
//
// Preconditions: the caller's mounts do not propagate (Settle).
func Stage(inUse ...string) (dir string, err error) {
	for _, dir := range []string{"/mnt", "/media", "/srv", "/dev/shm", "/opt"} {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || holdsAny(dir, inUse) {
			continue
		}
		flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
		if err := unix.Mount("cpc", dir, "tmpfs", flags, "mode=0711,size=64m"); err != nil {
			return "", fmt.Errorf("mount stage on %s: %w", dir, err)
		}
		return dir, nil
	}
	return "", errors.New("no directory to mount the stage on: /mnt, /media, /srv, /dev/shm and /opt are missing or in use by cpc itself")
}

func holdsAny(dir string, paths []string) bool {
	for _, p := range paths {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}
