// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package disk makes the disk of a sandbox: a file system of a fixed size that
// holds what the sandbox writes, so that it gets ENOSPC and the host's own
// file system never fills.
//
// Theory of operation. The disk is a sparse file with an ext4 file system. It
// is a copy of an empty one that is kept for each size: mkfs takes longer than
// a sandbox may take to start. Tiers, of which the first that works is taken:
//
//   - loop (root): the kernel mounts it through a loop device. That clears
//     itself when the mount goes, which is when its mount namespace does.
//   - fuse2fs (users, where /dev/fuse lets them): the process fuse2fs serves
//     it. The caller mounts; the server gets an open /dev/fuse and the file,
//     and is confined to them (see serve). It cannot carry an overlay: that
//     needs renames that leave a whiteout.
//   - tmpfs: memory, at most half of the sandbox's.
//
// Invariants: all mounts are in the caller's mount namespace, all processes in
// its pid namespace, so the kernel takes both down when the caller, pid 1
// there, dies. The file is the caller's to remove then.
package disk

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// Tier is what a disk is made of.
type Tier string

// The tiers, best first.
const (
	Loop   Tier = "loop"
	FUSE   Tier = "fuse2fs"
	Memory Tier = "tmpfs"
)

// MinSize is the least size of a disk, in bytes.
const MinSize = 16 << 20

// Options are the options of Open.
type Options struct {
	Size int64 // bytes
	// Image is a path of the caller's alone, where the file is made; Target an
	// existing directory, on which the disk is mounted. Templates is where
	// empty file systems are kept, and made if it is not there.
	Image, Target, Templates string
	Root                     bool  // the caller is root of the host
	Upper                    bool  // it is to carry the upper directory of an overlay
	Memory                   int64 // of the sandbox, in bytes; 0: not limited
	Label                    string
}

// Disk is a mounted disk.
type Disk struct {
	Tier Tier
	Size int64    // bytes; less than was asked for where it is memory
	Why  []string // what kept it from better tiers

	target, image string
	server        *server
}

// ErrNone reports that no tier can be had.
var ErrNone = hint.New("no disk of limited size can be made",
	"Install e2fsprogs and, for users other than root, fuse2fs. docs/disk.md describes the tiers.")

// Open makes and mounts a disk.
//
// Preconditions: CAP_SYS_ADMIN in the mount namespace's user namespace,
// private propagation.
func Open(o Options) (*Disk, error) {
	if o.Size < MinSize {
		return nil, fmt.Errorf("disk of %d bytes: at least %d", o.Size, MinSize)
	}
	d := &Disk{Size: o.Size, target: o.Target, image: o.Image}
	var all []error
	for _, tier := range []struct {
		tier Tier
		open func(Options) error
	}{{Loop, d.openLoop}, {FUSE, d.openFUSE}, {Memory, d.openMemory}} {
		err := tier.open(o)
		if err == nil {
			d.Tier = tier.tier
			if err = os.Chmod(o.Target, 0o711); err != nil { //nolint:gosec // the sandbox's root passes through it
				return nil, errors.Join(fmt.Errorf("disk: %w", err), d.Close())
			}
			_ = os.Remove(o.Target + "/lost+found") // of no use, and it is not there on all tiers
			return d, nil
		}
		all = append(all, fmt.Errorf("%s: %w", tier.tier, err))
		d.Why = append(d.Why, all[len(all)-1].Error())
		if err := os.Remove(o.Image); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("disk: %w", err)
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNone, errors.Join(all...))
}

// Close unmounts the disk and forgets what it held.
func (d *Disk) Close() error {
	if d.server != nil {
		d.server.stop() // what it has not written yet is of no interest
	}
	err := unix.Unmount(d.target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil {
		err = fmt.Errorf("unmount disk: %w", err)
	}
	if e := os.Remove(d.image); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// Note says what a person should know of the disk; "" if all is well.
func (d *Disk) Note() string {
	if d.Tier != Memory {
		return ""
	}
	return fmt.Sprintf("the sandbox's disk is %d MiB of its memory: %s", d.Size>>20, strings.Join(d.Why, "; "))
}

const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME

// openMemory mounts a tmpfs of at most half the memory that there is: a full
// one is to be ENOSPC, not the end of the sandbox.
func (d *Disk) openMemory(o Options) error {
	memory := o.Memory
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		return err
	}
	if all := int64(host.Totalram) * int64(host.Unit); memory == 0 || memory > all { //nolint:gosec // far below 2^63
		memory = all
	}
	d.Size = min(o.Size, memory/2)
	data := fmt.Sprintf("mode=0711,size=%d", d.Size)
	if o.Label != "" {
		data += `,context="` + o.Label + `"`
	}
	return unix.Mount("cpc-disk", o.Target, "tmpfs", mountFlags, data)
}
