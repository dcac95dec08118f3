// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package inode describes files as inodes do: type, mode, owner, time, extended
// attributes, and where a symbolic link points; all but names and bytes.
//
// Layers, copies, exports and contexts read files with it and write files with
// it. What it knows of a file, none of them can forget.
//
// It keeps no descriptors and no state.
package inode

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxLink is the longest target of a symbolic link: PATH_MAX without its NUL.
const maxLink = 4095

// Inode is what is known of a file.
type Inode struct {
	// Mode holds the type and the permission bits, as in stat(2).
	Mode uint32
	// UID and GID are ids on disk or in an image, as whoever holds the value says.
	UID, GID uint32
	// Time is the time of the last modification.
	Time time.Time
	// Attrs are the extended attributes that belong to an image; see Attributes.
	Attrs map[string]string
	// Link is where a symbolic link points.
	Link string
	// Size is a regular file's.
	Size int64
	// Device is a device node's number.
	Device uint64
	// Key tells the file from all others; Links is how many names it has.
	Key   Key
	Links uint64
}

// Key is a file's place on its disk. Two names with the same key are hard links.
type Key struct{ Dev, Ino uint64 }

// Type is the part of the mode that says what kind of file it is.
func (n *Inode) Type() uint32 { return n.Mode & unix.S_IFMT }

// IsDir reports whether it is a directory.
func (n *Inode) IsDir() bool { return n.Type() == unix.S_IFDIR }

// IsRegular reports whether it is a regular file.
func (n *Inode) IsRegular() bool { return n.Type() == unix.S_IFREG }

// IsSymlink reports whether it is a symbolic link.
func (n *Inode) IsSymlink() bool { return n.Type() == unix.S_IFLNK }

// Shared reports whether the file may have another name.
func (n *Inode) Shared() bool { return n.Links > 1 && !n.IsDir() }

// SetBits gives it other permission bits, those for set-id and sticky included.
func (n *Inode) SetBits(bits uint32) { n.Mode = n.Type() | bits&0o7777 }

// MapIDs gives it the ids that its own stand for.
func (n *Inode) MapIDs(id func(uint32) (uint32, error)) error {
	uid, err := id(n.UID)
	if err != nil {
		return fmt.Errorf("user %w", err)
	}
	gid, err := id(n.GID)
	if err != nil {
		return fmt.Errorf("group %w", err)
	}
	n.UID, n.GID = uid, gid
	return nil
}

// Stat describes an open file but for its attributes, which Attributes reads
// where O_PATH was not given.
func Stat(fd int) (n Inode, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return n, err
	}
	n = Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Time: time.Unix(st.Mtim.Unix()), Size: st.Size, Device: uint64(st.Rdev), //nolint:unconvert // other architectures have other types
		Key: Key{uint64(st.Dev), st.Ino}, Links: uint64(st.Nlink), //nolint:unconvert // other architectures have other types
	}
	if !n.IsSymlink() {
		return n, nil
	}
	buf := make([]byte, maxLink+1)
	size, err := unix.Readlinkat(fd, "", buf)
	n.Link = string(buf[:max(size, 0)])
	return n, err
}

// Apply gives an open regular file or directory its owner, its mode and its
// attributes. The order matters: a change of owner clears set-id bits and
// capabilities. An attribute that the kernel or the file system refuses is
// reported to refused, and no error: the file is usable without.
func (n *Inode) Apply(fd int, refused func(attr string, err error)) error {
	if err := unix.Fchown(fd, int(n.UID), int(n.GID)); err != nil {
		return fmt.Errorf("change owner to %d:%d: %w", n.UID, n.GID, err)
	}
	return n.ApplyOwn(fd, refused)
}

// ApplyOwn is Apply for a file that stays whose it is.
func (n *Inode) ApplyOwn(fd int, refused func(attr string, err error)) error {
	if err := unix.Fchmod(fd, n.Mode&0o7777); err != nil {
		return fmt.Errorf("change mode: %w", err)
	}
	return setAttributes(fd, n.Attrs, refused)
}

// Make makes a symbolic link or a named pipe, which have no content, in the
// directory that is open as at. With own it belongs to the caller.
func (n *Inode) Make(at int, base string, own bool) (err error) {
	switch n.Type() {
	case unix.S_IFLNK:
		err = unix.Symlinkat(n.Link, at, base)
	case unix.S_IFIFO:
		err = unix.Mknodat(at, base, unix.S_IFIFO|0o600, 0)
	default:
		return errors.New("neither a symbolic link nor a named pipe")
	}
	if err != nil {
		return err
	}
	if !own {
		if err := unix.Fchownat(at, base, int(n.UID), int(n.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change owner to %d:%d: %w", n.UID, n.GID, err)
		}
	}
	if n.Type() == unix.S_IFIFO {
		if err := unix.Fchmodat(at, base, n.Mode&0o7777, 0); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	return n.Touch(at, base)
}

// Touch sets the times of a name in the directory that is open as at, of a
// symbolic link itself.
func (n *Inode) Touch(at int, base string) error {
	ts := n.timespec()
	return unix.UtimesNanoAt(at, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// TouchOpen sets the times of an open file: utimensat(2) without a path.
func (n *Inode) TouchOpen(fd int) error {
	ts := [2]unix.Timespec{n.timespec(), n.timespec()}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// timespec is the time as the kernel has it; one that no disk holds is 1970.
func (n *Inode) timespec() unix.Timespec {
	ts, err := unix.TimeToTimespec(n.Time)
	if err != nil || n.Time.IsZero() {
		return unix.Timespec{}
	}
	return ts
}
