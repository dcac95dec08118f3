// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"maps"
	"path"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// DefaultDisk is the size of a sandbox's disk in bytes.
	DefaultDisk = 10 << 30
	// VarTmp is where a sandbox with a read-only root finds the disk that it
	// asked for.
	VarTmp = "/var/tmp"

	// maxVolumes is how many volumes an image may have; each is a mount.
	maxVolumes = 64
)

// Disk is the disk that a sandbox was given.
type Disk struct {
	Size int64
	Tier string
}

// DiskPaths returns the directories that are on the sandbox's disk, each one a
// mount, sorted: the volumes that the image declares, and /var/tmp if the
// caller asked for a disk and the root file system is not on it. What is a
// tmpfs stays one.
func DiskPaths(o Options, image v1.ImageConfig) ([]string, error) {
	if len(image.Volumes) > maxVolumes {
		return nil, fmt.Errorf("the image declares %d volumes: at most %d", len(image.Volumes), maxVolumes)
	}
	var paths []string
	for _, v := range slices.Sorted(maps.Keys(image.Volumes)) {
		p := path.Clean(v)
		if err := checkDestination(p); err != nil {
			return nil, fmt.Errorf("the image's volume %q: %w", v, err)
		}
		if !hasTmpfs(o.Tmpfs, p) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	if o.DiskAsked && o.ReadOnly && !hasTmpfs(o.Tmpfs, VarTmp) && !slices.Contains(paths, VarTmp) {
		paths = append(paths, VarTmp)
		slices.Sort(paths)
	}
	return paths, nil
}
