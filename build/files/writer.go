// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Owner is a pair of image ids.
type Owner struct{ UID, GID uint32 }

// Writer writes files into a directory: a mounted root file system, or one that
// a person named. Nothing that the directory contains can lead a write out of it:
// paths are resolved inside it first, and every access goes through os.Root.
type Writer struct {
	*Tree
	Mapping idmap.Mapping
	// Own: all files belong to the caller, and Mapping is not used.
	Own bool
	// Owner is given to all files and new directories; nil keeps the source's.
	Owner *Owner
	// Mode gives the permission bits for --chmod; nil keeps the source's.
	Mode func(bits uint32, dir bool) uint32
	// Made is how directories are made that only lead somewhere. Without an
	// Owner, one in a directory with a set-group-id bit gets its group.
	Made struct {
		Owner *Owner
		Bits  *uint32 // nil: 0755
	}
	// Latest, if set, is the latest time that a file gets.
	Latest time.Time
}

// OpenWriter opens a directory to write to. The caller closes it.
func OpenWriter(dir string, m idmap.Mapping) (*Writer, error) {
	t, err := Open(dir, "the image")
	if err != nil {
		return nil, err
	}
	return &Writer{Tree: t, Mapping: m}, nil
}

// callerID is the id that a file is given for an id of the image. Errors name the
// id that cannot be had.
func (t *Writer) callerID(id uint32) (uint32, error) {
	on, err := t.Mapping.ToCaller(id)
	if err != nil && t.Mapping.Mode == idmap.Single {
		return 0, hint.With(err, "a range of subordinate ids is needed: install uidmap and add a line to /etc/subuid and /etc/subgid")
	}
	return on, err
}

// SetOwner gives a file its ids.
func (t *Writer) SetOwner(p string, o Owner) error {
	uid, err := t.callerID(o.UID)
	if err != nil {
		return err
	}
	gid, err := t.callerID(o.GID)
	if err != nil {
		return err
	}
	return t.Root.Lchown(p, int(uid), int(gid))
}

// MkdirAll makes the directory p and its parents. It returns the path without
// symlinks.
func (t *Writer) MkdirAll(p string) (string, error) {
	resolved, err := t.Resolve(p)
	if err != nil {
		return "", err
	}
	return resolved, t.mkdirReal(resolved)
}

func (t *Writer) mkdirReal(p string) error {
	info, err := t.Root.Lstat(p)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("/%s: not a directory", visible.Line(p))
	case errors.Is(err, syscall.ENOTDIR):
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := t.mkdirReal(path.Dir(p)); err != nil {
		return err
	}
	if err := t.Root.Mkdir(p, 0o755); err != nil {
		return err
	}
	return t.finishMade(p)
}

// finishMade gives a new directory owner and mode. The set-group-id bit and the
// group that goes with it come from the directory around it, by the kernel.
func (t *Writer) finishMade(p string) error {
	info, err := t.Root.Lstat(p)
	if err != nil {
		return err
	}
	bits := uint32(0o755)
	if t.Made.Bits != nil {
		bits = *t.Made.Bits
	}
	inherits := info.Mode()&os.ModeSetgid != 0
	if inherits {
		bits |= unix.S_ISGID
	}
	switch st, ok := info.Sys().(*syscall.Stat_t); {
	case t.Own:
	case t.Made.Owner != nil:
		err = t.SetOwner(p, *t.Made.Owner)
	case inherits && ok:
		var uid uint32
		if uid, err = t.callerID(0); err == nil {
			err = t.Root.Lchown(p, int(uid), int(st.Gid))
		}
	default:
		err = t.SetOwner(p, Owner{})
	}
	if err != nil {
		return err
	}
	return t.Chmod(p, bits)
}

// IsDirectory reports whether p, symlinks followed inside the image, is one.
func (t *Writer) IsDirectory(p string) (bool, error) {
	resolved, err := t.Resolve(p)
	if err != nil {
		return false, err
	}
	info, err := t.Root.Lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// prepared is what is to be written of an entry: its ids are on disk.
func (t *Writer) prepared(e *Entry) (inode.Inode, error) {
	n := e.Inode
	if t.Mode != nil && !n.IsSymlink() {
		n.SetBits(t.Mode(n.Mode&0o7777, n.IsDir()))
	}
	n.Time = t.time(n.Time)
	if t.Own {
		return n, nil
	}
	if t.Owner != nil {
		n.UID, n.GID = t.Owner.UID, t.Owner.GID
	}
	return n, n.MapIDs(t.callerID)
}

func (t *Writer) time(at time.Time) time.Time {
	if !t.Latest.IsZero() && at.After(t.Latest) {
		return t.Latest
	}
	return at
}

// apply gives an open file or directory, which is called p, what n says.
func (t *Writer) apply(f *os.File, p string, n *inode.Inode) error {
	refused := func(attr string, err error) {
		t.Warn(fmt.Sprintf("/%s: attribute %s not kept: %v", visible.Line(p), visible.Line(attr), err))
	}
	if t.Own {
		return n.ApplyOwn(int(f.Fd()), refused)
	}
	return n.Apply(int(f.Fd()), refused)
}

// putDir makes p a directory like e. One that is there keeps its contents.
func (t *Writer) putDir(p string, e *Entry) error {
	n, err := t.prepared(e)
	if err != nil {
		return err
	}
	info, err := t.Root.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := t.Root.Mkdir(p, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir():
		return hint.With(fmt.Errorf("/%s: a directory cannot replace a file that is not a directory", visible.Line(p)),
			"remove it in a RUN step first, or copy to the target of the link")
	}
	dir, err := t.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(t.apply(dir, p, &n), dir.Close())
}

// PutFile writes content to p, replacing a file or symlink that is there.
func (t *Writer) PutFile(p string, e *Entry, content io.Reader) (err error) {
	n, err := t.prepared(e)
	if err != nil {
		return err
	}
	if err := t.clear(p); err != nil {
		return err
	}
	f, err := t.Root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := t.apply(f, p, &n); err != nil {
		return err
	}
	return n.TouchOpen(int(f.Fd()))
}

// putNode makes a symbolic link or a named pipe.
func (t *Writer) putNode(p string, e *Entry) error {
	n, err := t.prepared(e)
	if err != nil {
		return err
	}
	if err := t.clear(p); err != nil {
		return err
	}
	dir, err := t.open(path.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(n.Make(int(dir.Fd()), path.Base(p), t.Own), dir.Close())
}

// clear removes what a file is to replace.
func (t *Writer) clear(p string) error {
	info, err := t.Root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return hint.With(fmt.Errorf("/%s: a file cannot replace a directory", visible.Line(p)),
			"remove it in a RUN step first, or use another destination")
	}
	return t.Root.Remove(p)
}

// Chmod sets permission bits, those for set-id and sticky included.
func (t *Writer) Chmod(p string, bits uint32) error {
	m := os.FileMode(bits & 0o777)
	for bit, mode := range map[uint32]os.FileMode{
		unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky,
	} {
		if bits&bit != 0 {
			m |= mode
		}
	}
	return t.Root.Chmod(p, m)
}

// Touch sets the modification time of a directory.
func (t *Writer) Touch(p string, at time.Time) error {
	dir, err := t.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	n := inode.Inode{Time: t.time(at)}
	return errors.Join(n.TouchOpen(int(dir.Fd())), dir.Close())
}
