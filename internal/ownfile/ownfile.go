// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownfile opens the files that cpc keeps for itself: records, locks, logs,
// indexes. Each is a regular file of the calling user. What else is found under such
// a name (a FIFO, a device, a symbolic link, a directory, somebody else's file) is not
// read and never waited for: the error is a [StrayError], which says what to delete.
//
// Directories above a file may be symbolic links, as a data directory on another
// disk is.
package ownfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrTooLarge reports a file that is larger than its kind can be.
var ErrTooLarge = errors.New("file is too large")

// StrayError reports something that is not a regular file of the user's, under a
// name that cpc uses.
type StrayError struct {
	Path string
	What string // it is
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("%s: %s, where cpc keeps a file of its own: delete it", e.Path, e.What)
}

// IsStray reports whether err is a StrayError.
func IsStray(err error) bool {
	_, ok := errors.AsType[*StrayError](err)
	return ok
}

// Open opens a file for reading.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// OpenFile is os.OpenFile for a regular file of the user's. The file is emptied, if
// flag has O_TRUNC, only once it is known to be one.
func OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	empty := flag&os.O_TRUNC != 0
	// A FIFO is not waited for, and a terminal does not become this process's.
	f, err := os.OpenFile(path, flag&^os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, mode) //nolint:gosec // the caller names it
	if err != nil {
		return nil, explain(path, err)
	}
	info, err := f.Stat()
	if err == nil {
		err = check(path, info)
	}
	if err == nil {
		err = unix.SetNonblock(int(f.Fd()), false) // children inherit some of them
	}
	if err == nil && empty {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Read returns the content of a file of at most most bytes.
func Read(path string, most int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, most)
	}
	return data, err
}

// Write makes or overwrites a file of the mode 0600. It is for files that one
// process hands to another: a reader may find it half written.
func Write(path string, data []byte) error {
	f, err := OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// explain makes a StrayError of what open(2) says of things that are no files.
func explain(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return err
	}
	info, statErr := os.Lstat(path)
	if statErr != nil {
		return err
	}
	if stray := check(path, info); stray != nil {
		return stray
	}
	return err
}

func check(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &StrayError{Path: path, What: kind(info.Mode())}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if uid := os.Geteuid(); !ok || int(st.Uid) != uid {
		return &StrayError{Path: path, What: fmt.Sprintf("a file of uid %d, not of uid %d", st.Uid, uid)}
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
