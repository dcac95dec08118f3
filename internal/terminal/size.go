// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"errors"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Size returns the rows and columns of the first of the files that is a
// terminal with a known size.
func Size(files ...*os.File) (rows, cols uint16, ok bool) {
	for _, f := range files {
		if size, err := pty.GetsizeFull(f); err == nil && size.Rows > 0 && size.Cols > 0 {
			return size.Rows, size.Cols, true
		}
	}
	return 0, 0, false
}

// Resize gives a terminal a size. It can be called while f is read, written and
// closed, and leaves deadlines of f in force.
func Resize(f *os.File, rows, cols uint16) error {
	return copied(f, func(f *os.File) error { return pty.Setsize(f, &pty.Winsize{Rows: rows, Cols: cols}) })
}

// InheritSize gives the terminal to the size of the terminal from, which may change
// with each SIGWINCH. What Resize says of its file is true of to.
func InheritSize(from, to *os.File) error {
	return copied(to, func(to *os.File) error { return pty.InheritSize(from, to) })
}

// copied calls op with a copy of f: pty asks a file for its descriptor by Fd, which makes
// reads of it uninterruptible, and could be another file's if f is closed meanwhile.
func copied(f *os.File, op func(*os.File) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	if closed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 3) }); closed != nil {
		return closed
	}
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	c := os.NewFile(uintptr(fd), f.Name())
	return errors.Join(op(c), c.Close())
}
