// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/inode"
)

// inode is what an entry says of a file, with the ids that it has on disk.
func (u *unpacker) inode(hdr *tar.Header) (inode.Inode, error) {
	n, err := describe(hdr)
	if err != nil {
		return n, fmt.Errorf("owner: %w", err)
	}
	if into := u.o.Into; into != nil && (into.Own || into.Harmless) && !n.IsDir() {
		n.SetBits(n.Mode & 0o1777)
		delete(n.Attrs, inode.Capability)
	}
	return n, u.owner(&n)
}

// owner makes the ids of the image those that the file gets on disk.
func (u *unpacker) owner(n *inode.Inode) error {
	switch into := u.o.Into; {
	case into != nil && into.Own:
		return nil
	case into != nil && into.Owner != nil:
		n.UID, n.GID = into.Owner.UID, into.Owner.GID
	}
	if err := n.MapIDs(u.o.Mapping.ToStore); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	return nil
}

// What cannot be put into a directory in use.
var (
	ErrReplacesDir  = errors.New("cannot overwrite directory with non-directory")
	ErrReplacesFile = errors.New("cannot overwrite non-directory with directory")
)

// clear removes what is at t, unless it is a directory and one is wanted.
// It says whether there was a whiteout, and whether a directory was kept.
func (u *unpacker) clear(t target, wantDir bool) (whiteout, kept bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(t.at, t.base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, false, nil
		}
		return false, false, err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case isDir && wantDir:
		return false, true, nil
	case u.o.Into != nil && isDir:
		return false, false, ErrReplacesDir
	case u.o.Into != nil && wantDir:
		return false, false, ErrReplacesFile
	}
	u.forgetOthers(t.at)
	if isDir {
		return false, false, removeAt(t.at, t.base)
	}
	return isWhiteout(&st), false, unix.Unlinkat(t.at, t.base, 0)
}

func (u *unpacker) file(t target, n *inode.Inode, content io.Reader) (err error) {
	if u.bytes += n.Size; u.bytes > u.limits.Bytes || u.bytes < 0 {
		return fmt.Errorf("files of the layer are larger than the limit of %d bytes", u.limits.Bytes)
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(t.at, t.base, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if _, _, err := u.clear(t, false); err != nil {
			return err
		}
		fd, err = unix.Openat(t.at, t.base, flags, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := u.write(fd, content, n.Size); err != nil {
		return err
	}
	if err := u.apply(fd, t.name, n); err != nil {
		return err
	}
	return n.TouchOpen(fd)
}

// write copies size bytes; stretches of zeroes become holes.
func (u *unpacker) write(fd int, content io.Reader, size int64) error {
	var off int64
	hole := false
	for off < size {
		n, err := io.ReadFull(content, u.buf[:min(int64(len(u.buf)), size-off)])
		if err != nil {
			return fmt.Errorf("content: %w", err)
		}
		chunk := u.buf[:n]
		if hole = allZero(chunk); !hole {
			if err := writeAll(fd, chunk, off); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	if hole {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

func allZero(p []byte) bool {
	return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

func writeAll(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// apply makes an open file or directory what the entry called name says.
func (u *unpacker) apply(fd int, name string, n *inode.Inode) error {
	refused := func(attr string, err error) {
		u.warn(fmt.Sprintf("%s: attribute %s not kept: %v", quote(name), quote(attr), err))
	}
	if u.own() {
		return n.ApplyOwn(fd, refused)
	}
	return n.Apply(fd, refused)
}

// own says whether files stay the caller's.
func (u *unpacker) own() bool { return u.o.Into != nil && u.o.Into.Own }

func (u *unpacker) dir(t target, n *inode.Inode) (err error) {
	err = unix.Mkdirat(t.at, t.base, 0o700)
	whiteout := false
	if errors.Is(err, unix.EEXIST) {
		var kept bool
		if whiteout, kept, err = u.clear(t, true); err == nil && !kept {
			err = unix.Mkdirat(t.at, t.base, 0o700)
		}
		if err == nil && kept && u.o.Into != nil {
			return nil
		}
	}
	if err != nil {
		return err
	}
	fd, err := openDir(t.at, t.base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if whiteout {
		if err := u.markOpaque(fd); err != nil {
			return err
		}
	}
	return u.finishDir(fd, t.name, n)
}

func (u *unpacker) rootDir(hdr *tar.Header) error {
	if u.o.Into != nil && !u.o.Into.New {
		return nil
	}
	n, err := u.inode(hdr)
	if err != nil {
		return err
	}
	return u.finishDir(u.root, ".", &n)
}

func (u *unpacker) finishDir(fd int, name string, n *inode.Inode) error {
	if u.names += int64(len(name)) + dirCost; u.names > maxDirNames {
		return errors.New("too many directories with long names")
	}
	u.dirs = append(u.dirs, dirTime{name, n.Time})
	return u.apply(fd, name, n)
}

// finishDirs sets the times of directories. One that has since been replaced
// by something else keeps that something's times.
func (u *unpacker) finishDirs(ctx context.Context) error {
	for _, d := range u.dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		fd, err := u.lookup(d.name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err != nil {
			return fmt.Errorf("set times of %s: %w", quote(d.name), err)
		}
		err = (&inode.Inode{Time: d.mtime}).TouchOpen(fd)
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return fmt.Errorf("set times of %s: %w", quote(d.name), err)
		}
	}
	return nil
}

// node makes a symbolic link or a named pipe.
func (u *unpacker) node(t target, n *inode.Inode) error {
	if n.IsSymlink() && (n.Link == "" || len(n.Link) > maxPath) {
		return errors.New("symbolic link with a malformed target")
	}
	if _, _, err := u.clear(t, false); err != nil {
		return err
	}
	return n.Make(t.at, t.base, u.own())
}

// hardLink links to an entry of the same layer. A link to a symbolic link is
// one more name of the link itself; it is never followed.
func (u *unpacker) hardLink(t target, hdr *tar.Header) (err error) {
	old, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(hdr.Linkname), err)
	}
	if old = u.place(old); old == t.name {
		return errors.New("hard link to itself")
	}
	if u.leftOut[old] {
		return u.device(t, &tar.Header{Typeflag: tar.TypeBlock})
	}
	dir, base := path.Split(old)
	from, err := u.lookup(path.Clean("/" + dir)[1:])
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(hdr.Linkname), err)
	}
	defer func() { err = errors.Join(err, unix.Close(from)) }()
	var st unix.Stat_t
	if err := unix.Fstatat(from, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(hdr.Linkname), err)
	}
	if mode := st.Mode & unix.S_IFMT; mode == unix.S_IFDIR || mode == unix.S_IFCHR {
		return fmt.Errorf("hard link to %s, which is not a file", quote(hdr.Linkname))
	}
	if _, _, err := u.clear(t, false); err != nil {
		return err
	}
	if err := unix.Linkat(from, base, t.at, t.base, 0); err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(hdr.Linkname), err)
	}
	return nil
}
