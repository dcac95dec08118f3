// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/disk"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// openDisk makes the sandbox's disk, where something is to be on it, and
// returns where it is mounted; "" without a disk.
func (m *monitor) openDisk(stage, scratch string, paths []string) (dir string, err error) {
	r, o := m.entry.Record, m.task.Options
	if o.ReadOnly && len(paths) == 0 {
		return "", nil
	}
	dir = filepath.Join(stage, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("disk: %w", err)
	}
	d, err := disk.Open(disk.Options{
		Size: o.Disk, Image: filepath.Join(scratch, "disk"), Target: dir, Templates: filepath.Join(m.task.Dirs.Data, "disks"),
		Root: r.Mapping.Mode == idmap.Root, Upper: !o.ReadOnly, Memory: o.Limits.Memory, Label: m.labels.Mount,
	})
	if err != nil {
		return "", err
	}
	m.later(d.Close)
	m.disk = &bundle.Disk{Size: d.Size, Tier: string(d.Tier)}
	r.Settings.Disk = &record.Disk{Size: d.Size, Tier: string(d.Tier), Paths: paths, Why: d.Why, Asked: o.Disk}
	if !o.ReadOnly {
		r.Settings.Disk.Paths = append([]string{"/"}, paths...)
	}
	if note := d.Note(); note != "" {
		m.notes = append(m.notes, note)
	}
	return dir, nil
}

// fillDisk makes a directory on the disk for each path, with what the image
// has there, as docker does with volumes.
func (m *monitor) fillDisk(dir string, paths []string) ([]bundle.Bind, error) {
	var binds []bundle.Bind
	for i, p := range paths {
		// Nothing runs in the sandbox yet: its tree stays as it is.
		from, err := securejoin.SecureJoin(m.mounted.Root, p)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", p, err)
		}
		to := filepath.Join(dir, strconv.Itoa(i))
		err = copyTree(from, to)
		if errors.Is(err, fs.ErrNotExist) {
			err = m.newDirectory(to, p)
		}
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", p, err)
		}
		binds = append(binds, bundle.Bind{Source: to, Target: p})
	}
	return binds, nil
}

// newDirectory makes what the image lacks, for the sandbox's root.
func (m *monitor) newDirectory(dir, path string) error {
	mode := uint32(0o755)
	if path == bundle.VarTmp {
		mode = 0o1777
	}
	id, err := m.entry.Record.Mapping.ToCaller(0)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Lchown(dir, int(id), int(id)); err != nil {
		return err
	}
	return unix.Chmod(dir, mode)
}

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
