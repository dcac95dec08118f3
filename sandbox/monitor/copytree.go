// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// copyTree copies a directory with owners, modes and times. What is neither
// file, directory nor symbolic link is left out.
func copyTree(from, to string) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close()
	return fs.WalkDir(source.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return copyEntry(source, target, name)
	})
}

func copyEntry(source, target *os.Root, name string) error {
	info, err := source.Lstat(name)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner", name)
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if name != "." {
			err = target.Mkdir(name, 0o700)
		}
	case fs.ModeSymlink:
		var to string
		if to, err = source.Readlink(name); err == nil {
			err = target.Symlink(to, name)
		}
		if err != nil {
			return err
		}
		return target.Lchown(name, int(st.Uid), int(st.Gid))
	case 0:
		err = copyFile(source, target, name)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	// Mode after owner: a change of owner takes set-id bits away.
	when := time.Unix(st.Mtim.Unix())
	if err := target.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := target.Chmod(name, info.Mode()); err != nil {
		return err
	}
	return target.Chtimes(name, when, when)
}

func copyFile(source, target *os.Root, name string) error {
	in, err := source.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := target.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
