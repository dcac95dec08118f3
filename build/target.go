// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

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

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// target is a mounted root file system that files are written into. Nothing it
// contains can lead a write out of it: paths are resolved inside it first, and
// every access goes through os.Root.
type target struct {
	*tree
	mapping idmap.Mapping
	// owner is given to all files and new directories; nil keeps the source's.
	owner *owner
	// mode is --chmod; nil keeps the source's.
	mode *mode
	// made is how the directories that have to be created are owned.
	made owner
}

func openTarget(dir string, m idmap.Mapping) (*target, error) {
	t, err := openTree(dir, "the image")
	if err != nil {
		return nil, err
	}
	return &target{tree: t, mapping: m}, nil
}

// setOwner gives a file its ids. Errors name the id that cannot be had.
func (t *target) setOwner(p string, o owner) error {
	uid, err := t.mapping.ToCaller(o.uid)
	if err != nil {
		return t.noID(err)
	}
	gid, err := t.mapping.ToCaller(o.gid)
	if err != nil {
		return t.noID(err)
	}
	return t.root.Lchown(p, int(uid), int(gid))
}

func (t *target) noID(err error) error {
	if t.mapping.Mode != idmap.Single {
		return err
	}
	return withHint(err, "a range of subordinate ids is needed: install uidmap and add a line to /etc/subuid and /etc/subgid")
}

// mkdirAll makes the directory p and its parents, 0755 and owned by made. It
// returns the path without symlinks.
func (t *target) mkdirAll(p string) (string, error) {
	resolved, err := t.resolve(p)
	if err != nil {
		return "", err
	}
	return resolved, t.mkdirReal(resolved)
}

func (t *target) mkdirReal(p string) error {
	info, err := t.root.Lstat(p)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("/%s: not a directory", visible(p))
	case errors.Is(err, syscall.ENOTDIR):
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := t.mkdirReal(path.Dir(p)); err != nil {
		return err
	}
	if err := t.root.Mkdir(p, 0o755); err != nil {
		return err
	}
	if err := t.setOwner(p, t.made); err != nil {
		return err
	}
	return t.root.Chmod(p, 0o755)
}

// isDir reports whether p, symlinks followed inside the image, is a directory.
func (t *target) isDir(p string) (bool, error) {
	resolved, err := t.resolve(p)
	if err != nil {
		return false, err
	}
	info, err := t.root.Lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// putDir makes p a directory like e. One that is there keeps its contents.
func (t *target) putDir(p string, e entry) error {
	info, err := t.root.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := t.root.Mkdir(p, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir():
		return withHint(fmt.Errorf("/%s: a directory cannot replace what is no directory", visible(p)),
			"remove it in a RUN step first, or copy to where it points")
	}
	return t.finish(p, e)
}

// putFile writes content to p, replacing a file or symlink that is there.
func (t *target) putFile(p string, e entry, content io.Reader) error {
	if err := t.clear(p); err != nil {
		return err
	}
	f, err := t.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := t.finish(p, e); err != nil {
		return err
	}
	return t.touch(p, e.mtime)
}

func (t *target) putSymlink(p string, e entry) error {
	if err := t.clear(p); err != nil {
		return err
	}
	if err := t.root.Symlink(e.link, p); err != nil {
		return err
	}
	if err := t.setOwner(p, t.ownerOf(e)); err != nil {
		return err
	}
	return t.touch(p, e.mtime)
}

// clear removes what a file is to replace.
func (t *target) clear(p string) error {
	info, err := t.root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return withHint(fmt.Errorf("/%s: a file cannot replace a directory", visible(p)),
			"remove it in a RUN step first, or name another destination")
	}
	return t.root.Remove(p)
}

func (t *target) ownerOf(e entry) owner {
	if t.owner != nil {
		return *t.owner
	}
	return e.owner
}

// finish sets owner and mode, in this order, as chown clears the set-id bits.
func (t *target) finish(p string, e entry) error {
	if err := t.setOwner(p, t.ownerOf(e)); err != nil {
		return err
	}
	bits := unixMode(e.mode)
	if t.mode != nil {
		bits = t.mode.apply(bits, e.mode.IsDir())
	}
	return t.chmod(p, bits)
}

func (t *target) chmod(p string, bits uint32) error {
	m := os.FileMode(bits & 0o777)
	for bit, mode := range map[uint32]os.FileMode{
		unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky,
	} {
		if bits&bit != 0 {
			m |= mode
		}
	}
	return t.root.Chmod(p, m)
}

// touch sets the modification time of p itself, not of what it points to.
func (t *target) touch(p string, mtime time.Time) error {
	dir, err := t.root.Open(path.Dir(p))
	if err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(mtime)
	if err == nil {
		err = unix.UtimesNanoAt(int(dir.Fd()), path.Base(p), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	return errors.Join(err, dir.Close())
}
