// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// diskUsage adds up what the files below dir take, each once.
func diskUsage(dir string) (int64, error) {
	var sum int64
	seen := make(map[[2]uint64]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // being removed, or of ids that this process has no right to
		}
		if err != nil {
			return err
		}
		if path == dir && d.IsDir() {
			return nil // the store's own
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			key := [2]uint64{st.Dev, st.Ino}
			if seen[key] {
				return nil
			}
			seen[key] = true
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum, err
}

// DiskUse is what the parts of a store take of the disk, in bytes.
type DiskUse struct {
	// Blobs are compressed layers, configurations and manifests; Layers the
	// unpacked layers; Scratch what running sandboxes have written, and the
	// empty disks that theirs are copies of; CacheMounts what RUN steps keep.
	Blobs, Layers, Scratch, CacheMounts int64
}

// DiskUse adds up what the parts of the store take.
func (s *Store) DiskUse() (u DiskUse, err error) {
	var disks int64
	for _, part := range []struct {
		to   *int64
		path string
	}{
		{&u.Blobs, s.path("oci", v1.ImageBlobsDir)},
		{&u.Layers, s.path("layers")},
		{&u.Scratch, s.path("scratch")},
		{&disks, s.path("disks")}, // see sandbox/disk
		{&u.CacheMounts, s.path("mounts", s.variant)},
	} {
		if *part.to, err = diskUsage(part.path); err != nil {
			return u, err
		}
	}
	u.Scratch += disks
	return u, nil
}

// SizeOf is what the blobs and layers of one set take that none of the others has.
func (s *Store) SizeOf(set Objects, but ...Objects) (sum int64, err error) {
	skip := func(of func(Objects) map[string]bool, name string) bool {
		for _, b := range but {
			if of(b)[name] {
				return true
			}
		}
		return false
	}
	add := func(path string) { // goes on after a failure
		n, failed := diskUsage(path)
		sum += n
		err = errors.Join(err, failed)
	}
	for name := range set.Blobs {
		if !skip(func(l Objects) map[string]bool { return l.Blobs }, name) {
			add(s.path(blobDir, name))
		}
	}
	for name := range set.Layers {
		if !skip(func(l Objects) map[string]bool { return l.Layers }, name) {
			add(s.path("layers", s.variant, name))
		}
	}
	return sum, err
}
