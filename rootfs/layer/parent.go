// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/inode"
)

// parent is the directory used last, kept open since entries come in runs.
type parent struct {
	name string
	fd   int
}

// forget closes the kept directory.
func (u *unpacker) forget() {
	if u.at.fd >= 0 && u.at.fd != u.root {
		_ = unix.Close(u.at.fd) // opened for reading: nothing to lose
	}
	u.at = parent{fd: -1}
}

// forgetOthers is called before a name in the directory at is given a new
// meaning: a kept descriptor other than at may no longer be what its name is.
func (u *unpacker) forgetOthers(at int) {
	if u.at.fd != at {
		u.forget()
	}
}

// lookup opens the directory called name in the layer. Links in the name stay
// inside of the layer. The caller closes it.
func (u *unpacker) lookup(name string) (int, error) {
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	if u.o.Into != nil {
		how.Resolve &^= unix.RESOLVE_NO_XDEV
	}
	for {
		fd, err := unix.Openat2(u.root, name, &how)
		// EAGAIN: something was renamed somewhere while ".." was resolved.
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if errors.Is(err, unix.ENOSYS) {
			return -1, errors.New("openat2: Linux 5.6 or newer is needed")
		}
		return fd, err
	}
}

// parent returns the directory called name, making it where it is missing. The
// descriptor is the unpacker's.
func (u *unpacker) parent(name string) (int, error) {
	if u.at.fd >= 0 && u.at.name == name {
		return u.at.fd, nil
	}
	fd, err := u.lookup(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		fd, err = u.makeParents(name)
	}
	if err != nil {
		return -1, fmt.Errorf("parent directory: %w", err)
	}
	u.forget()
	u.at = parent{name: name, fd: fd}
	return fd, nil
}

// makeParents makes the directories of name that are missing, also in place of
// a whiteout. It goes down step by step, so that a long name costs no more than
// its length. The caller closes the descriptor.
func (u *unpacker) makeParents(name string) (int, error) {
	fd, err := u.lookup(".")
	if err != nil {
		return -1, err
	}
	for start := 0; start < len(name); {
		end := len(name)
		if i := strings.IndexByte(name[start:], '/'); i >= 0 {
			end = start + i
		}
		next, err := openDir(fd, name[start:end])
		if err != nil {
			next, err = u.implicitDir(target{at: fd, base: name[start:end], name: name[:end]})
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return -1, err
		}
		fd, start = next, end+1
	}
	return fd, nil
}

// implicitDir makes a directory that the layer has no entry for: root's, 0755.
func (u *unpacker) implicitDir(t target) (int, error) {
	whiteout, err := u.dropWhiteout(t)
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(t.at, t.base, 0o755); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return u.lookup(t.name) // by way of a link, or with the reason why not
		}
		return -1, err
	}
	fd, err := openDir(t.at, t.base)
	if err != nil {
		return -1, err
	}
	n := inode.Inode{Mode: unix.S_IFDIR | 0o755}
	if err = u.owner(&n); err == nil {
		err = u.apply(fd, t.name, &n)
	}
	if err == nil && whiteout {
		err = u.markOpaque(fd)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (u *unpacker) dropWhiteout(t target) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(t.at, t.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil || !isWhiteout(&st) {
		return false, err
	}
	return true, unix.Unlinkat(t.at, t.base, 0)
}

func openDir(at int, base string) (int, error) {
	return unix.Openat(at, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
