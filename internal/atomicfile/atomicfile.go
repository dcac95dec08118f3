// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package atomicfile replaces files so that a reader, or the machine after a
// power cut, finds either the old content or the new one. After an error the
// old file is as it was, and nothing is left beside it.
//
// Write and Replace are for files that are cpc's. Named is for the files that
// people name on a command line, which can be devices, pipes and symbolic links.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Options say how a file is replaced.
type Options struct {
	// Mode is the mode of the new file, whatever the umask is. 0 stands for
	// 0600.
	Mode fs.FileMode
	// Keep gives the new file the mode and the owner of the one that it
	// replaces, if there is one.
	Keep bool
	// Volatile leaves out the syncs. It is for files that mean nothing after the
	// machine has been started anew, and for those that can be made again.
	Volatile bool
}

// Write replaces the file at path with one of the mode 0600.
func Write(path string, data []byte) error {
	return Replace(path, Options{}, Content(data))
}

// Content returns a function that writes data, for Replace and Named.
func Content(data []byte) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}
}

// Replace replaces the file at path with what fill writes. A symbolic link at
// path is replaced, not followed; so is a device. What fill returns is returned.
func Replace(path string, o Options, fill func(*os.File) error) error {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	return kernel().replace(path, request{Options: o, create: 0o600, fill: fill})
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// request is one file to replace. Its Mode is 0 where the umask decides.
type request struct {
	Options
	create fs.FileMode // for open(2), before the umask
	fill   func(*os.File) error
}

// calls are the steps that can fail. Tests put failures in their place.
type calls struct {
	open    func(path string, mode fs.FileMode) (*os.File, error)
	chown   func(f *os.File, uid, gid int) error
	chmod   func(f *os.File, mode fs.FileMode) error
	sync    func(f *os.File) error
	close   func(f *os.File) error
	rename  func(from, to string) error
	syncDir func(dir string) error
}

func kernel() calls {
	return calls{
		open: func(path string, mode fs.FileMode) (*os.File, error) {
			return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the caller names it
		},
		chown: (*os.File).Chown, chmod: (*os.File).Chmod, sync: (*os.File).Sync, close: (*os.File).Close,
		rename: os.Rename, syncDir: SyncDir,
	}
}

// maxPrefix bounds how much of a file's name is in that of the file beside it,
// so that the name is never too long.
const maxPrefix = 100

// besideError says that the file beside another could not be made.
type besideError struct{ error }

func (e besideError) Unwrap() error { return e.error }

// replace is sequence: each step is taken only if the one before succeeded.
func (c calls) replace(path string, r request) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	beside := filepath.Join(dir, "."+base[:min(len(base), maxPrefix)]+"."+rand.Text()[:12])
	f, err := c.open(beside, r.create)
	if err != nil {
		return besideError{speakOf(path, beside, err)}
	}
	closed := false
	defer func() {
		if err == nil {
			return
		}
		if !closed {
			err = errors.Join(err, f.Close())
		}
		if gone := os.Remove(beside); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		err = speakOf(path, beside, err)
	}()
	if err := r.fill(f); err != nil {
		return err
	}
	if err := c.dress(f, path, r); err != nil {
		return err
	}
	if !r.Volatile {
		if err := c.sync(f); err != nil {
			return err
		}
	}
	closed = true
	if err := c.close(f); err != nil {
		return err
	}
	if err := c.rename(beside, path); err != nil {
		return err
	}
	if r.Volatile {
		return nil
	}
	return c.syncDir(dir)
}

// speakOf makes an error speak of the file that was to be written, instead of
// the one beside it. What fill has to say of other things stays as it is.
func speakOf(path, beside string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == beside {
		e.Path = path
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok && e.Old == beside {
		return &fs.PathError{Op: "write", Path: path, Err: e.Err}
	}
	return err
}

// dress gives the new file its owner and mode.
func (c calls) dress(f *os.File, path string, r request) error {
	mode := r.Mode
	if old, err := os.Lstat(path); r.Keep && err == nil && old.Mode().IsRegular() {
		mode = old.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
		if err := c.keepOwner(f, old); err != nil {
			return err
		}
	}
	if mode == 0 {
		return nil
	}
	return c.chmod(f, mode)
}

// keepOwner gives f the owner of another file, where that is not its owner. A
// user who may replace somebody else's file cannot give files away, so the new
// one is the user's.
func (c calls) keepOwner(f *os.File, old fs.FileInfo) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	uid, gid := owner(old)
	if u, g := owner(have); u == uid && g == gid {
		return nil
	}
	err = c.chown(f, uid, gid)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
