// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package filelock locks between processes by flock(2) on files of their own.
//
// The kernel gives a lock up with the last descriptor of the open file, so one
// never outlives its process. Descriptors are close-on-exec. A lock file may
// be removed by who holds it exclusively; others notice and make it anew. On a
// read-only file system a shared lock of a file that is not there is none at all.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// ErrBusy is the error where another process, or another Lock of this one, is
// in the way.
var ErrBusy = errors.New("locked by another process")

// How is whether a lock can be held by several at once.
type How int

// The two kinds of lock.
const (
	Shared    How = unix.LOCK_SH
	Exclusive How = unix.LOCK_EX
)

// Lock is a lock that is held until Close.
type Lock struct {
	f *os.File
}

// Try takes the lock at once or returns an error that is ErrBusy. The file is
// made if it is missing.
func Try(path string, how How) (*Lock, error) {
	for {
		f, err := ownfile.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
		if how == Shared && errors.Is(err, unix.EROFS) {
			return none(path)
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		same, err := lockFile(f, path, how)
		if err == nil && same {
			return &Lock{f: f}, nil
		}
		_ = f.Close() // nothing was written
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// none is the shared lock on a file that is not there, on a read-only file system:
// nobody has it exclusively by this mount, and nobody can be kept out of it.
func none(path string) (*Lock, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return &Lock{f: dir}, nil
}

// lockFile says whether the locked file is still the one at path.
func lockFile(f *os.File, path string, how How) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), int(how)|unix.LOCK_NB)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, ErrBusy
		}
		if err != nil {
			return false, err
		}
		break
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// Acquire waits for the lock until the context ends.
func Acquire(ctx context.Context, path string, how How) (*Lock, error) {
	const longest = 100 * time.Millisecond
	for wait := time.Millisecond; ; wait = min(2*wait, longest) {
		l, err := Try(path, how)
		if !errors.Is(err, ErrBusy) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// Close gives the lock up.
func (l *Lock) Close() error { return l.f.Close() }

// Share makes an exclusive lock a shared one. For an instant it is neither.
func (l *Lock) Share() error {
	return unix.Flock(int(l.f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
}

// Remove removes the file of an exclusive lock and gives the lock up.
func (l *Lock) Remove() error {
	return errors.Join(os.Remove(l.f.Name()), l.f.Close())
}
