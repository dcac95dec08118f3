// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// copySymlink is an option of mounts that crun has (podman's no-dereference): of a
// source that is a symbolic link there will be a link with the same target.
const copySymlink = "copy-symlink"

// errCopySymlink: libcontainer makes no links.
var errCopySymlink = errors.New("mount option " + copySymlink +
	": not beside hooks that init runs, SELinux labels, preserved descriptors or unusual mounts")

// symlink is such a link.
type symlink struct {
	before       int // which of the mounts that are left it is made
	target, path string
}

// takeSymlinks removes from a specification the mounts that are to be links, and
// the option from the others.
func takeSymlinks(spec *specs.Spec) (links []symlink, err error) {
	kept := spec.Mounts[:0:0]
	for _, m := range spec.Mounts {
		if !slices.Contains(m.Options, copySymlink) {
			kept = append(kept, m)
			continue
		}
		info, err := os.Lstat(m.Source)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == copySymlink })
			kept = append(kept, m)
			continue
		}
		target, err := os.Readlink(m.Source)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		links = append(links, symlink{before: len(kept), target: target, path: m.Destination})
	}
	spec.Mounts = kept
	return links, nil
}
