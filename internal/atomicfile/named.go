// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Named writes a file that somebody has named, such as the one of save --output.
//
//   - A regular file, or one that is not there yet, is replaced whole or not at
//     all. It keeps its mode and its owner; a new one has o.Mode (0: 0666), less
//     the umask.
//   - A device, pipe or terminal is written to as it is, and stays.
//   - A symbolic link stays; where it leads is written.
//   - /dev/stdout, /dev/stderr and /dev/fd/N are the descriptors of this process,
//     with their offsets.
//   - In a directory in which no file can be made, a file that is there is
//     written in place, which a failure leaves half done.
func Named(path string, o Options, write func(*os.File) error) error {
	r := request{Options: Options{Keep: true, Volatile: o.Volatile}, create: o.Mode, fill: write}
	if r.create == 0 {
		r.create = 0o666
	}
	return kernel().named(path, r)
}

func (c calls) named(path string, r request) error {
	if fd, ok := ownDescriptor(path); ok {
		return c.descriptor(path, fd, r.fill)
	}
	to, err := destination(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	st, err := os.Stat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("write %s: %w", path, err)
	case st.IsDir():
		return fmt.Errorf("write %s: %w", path, syscall.EISDIR)
	case !st.Mode().IsRegular():
		return c.inPlace(path, to, 0, r.fill)
	}
	there := err == nil
	err = c.replace(to, r)
	_, noRoom := errors.AsType[besideError](err)
	if there && noRoom && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return c.inPlace(path, to, os.O_TRUNC, r.fill)
	}
	return err
}

// inPlace writes to what is there.
func (c calls) inPlace(path, to string, flags int, write func(*os.File) error) error {
	f, err := os.OpenFile(to, os.O_WRONLY|flags, 0) //nolint:gosec // somebody named it
	if err != nil {
		return speakOf(path, to, err)
	}
	return errors.Join(write(f), c.close(f))
}

// descriptor writes to a copy of a descriptor, which shares its offset.
func (c calls) descriptor(path string, fd int, write func(*os.File) error) error {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f := os.NewFile(uintptr(own), path)
	return errors.Join(write(f), c.close(f))
}

// ownDescriptor returns the descriptor of this process that a path stands for.
func ownDescriptor(path string) (int, bool) {
	switch path = filepath.Clean(path); path {
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"} {
		if number, ok := strings.CutPrefix(path, dir); ok {
			fd, err := strconv.Atoi(number)
			return fd, err == nil && fd >= 0
		}
	}
	return 0, false
}

// maxLinks is how many symbolic links the kernel follows, too.
const maxLinks = 40

// destination follows the symbolic links at the end of a path, also to where
// there is nothing yet.
func destination(path string) (string, error) {
	for range maxLinks {
		to, err := os.Readlink(path)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			// Not Join, which would take ".." for the parent of a link's name.
			dir, _ := filepath.Split(path)
			to = dir + to
		}
		path = to
	}
	return "", syscall.ELOOP
}

func owner(info fs.FileInfo) (uid, gid int) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1
	}
	return int(st.Uid), int(st.Gid)
}
