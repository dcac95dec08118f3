// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// Usage is what a store takes of the disk, in bytes.
type Usage struct {
	// Blobs are compressed layers, configurations and manifests; Layers the
	// unpacked layers; Scratch what running sandboxes have written, and the
	// empty disks that theirs are copies of.
	Blobs, Layers, Scratch int64
	// Images and ActiveImages count the images, and those that something uses.
	Images, ActiveImages int
	// Reclaimable is what would go if all unused images went: of Blobs and Layers.
	Reclaimable int64
	// Cached counts the entries of the build cache, CacheOnly is the size of
	// the blobs and layers that only it needs.
	Cached    int
	CacheOnly int64
	// CacheMounts is what the cache mounts of RUN steps hold.
	CacheMounts int64
}

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

// ImageUsage is what one image takes.
type ImageUsage struct {
	Image *Image
	// Size is that of its blobs; Shared of those that other images have, too.
	Size, Shared int64
	// InUse: a sandbox or a build uses it.
	InUse bool
}

// ImageUsages returns what each image takes.
func (s *Store) ImageUsages(ctx context.Context) ([]ImageUsage, error) {
	images, err := s.Images(ctx)
	count := make(map[digest.Digest]int)
	for _, img := range images {
		for d := range blobsOf(img) {
			count[d]++
		}
	}
	out := make([]ImageUsage, 0, len(images))
	for _, img := range images {
		u := ImageUsage{Image: img, InUse: s.inUse(img.Digest)}
		for d, size := range blobsOf(img) {
			u.Size += size
			if count[d] > 1 {
				u.Shared += size
			}
		}
		out = append(out, u)
	}
	return out, err
}

func blobsOf(img *Image) map[digest.Digest]int64 {
	m := map[digest.Digest]int64{img.ConfigDigest: img.Manifest.Config.Size}
	for _, l := range img.Manifest.Layers {
		m[l.Digest] = l.Size
	}
	return m
}

// inUse reports whether someone holds the image by Use.
func (s *Store) inUse(d digest.Digest) bool {
	if _, err := os.Stat(s.imageLock(d)); err != nil {
		return false
	}
	l, err := filelock.Try(s.imageLock(d), filelock.Exclusive)
	if err != nil {
		return true
	}
	return l.Remove() != nil
}

// Usage adds up what the store takes.
func (s *Store) Usage(ctx context.Context) (u Usage, err error) {
	if u.Blobs, err = diskUsage(s.path("oci", v1.ImageBlobsDir)); err != nil {
		return u, err
	}
	if u.Layers, err = diskUsage(s.path("layers")); err != nil {
		return u, err
	}
	if u.Scratch, err = diskUsage(s.path("scratch")); err != nil {
		return u, err
	}
	disks, err := diskUsage(s.path("disks")) // see sandbox/disk
	if err != nil {
		return u, err
	}
	u.Scratch += disks
	if u.CacheMounts, err = diskUsage(s.path("mounts", s.variant)); err != nil {
		return u, err
	}
	images, err := s.ImageUsages(ctx)
	if err != nil {
		return u, err
	}
	needed := live{blobs: make(map[string]bool), layers: make(map[string]bool)}
	ofImages := live{blobs: make(map[string]bool), layers: make(map[string]bool)}
	for _, i := range images {
		u.Images++
		targets := []live{ofImages}
		if i.InUse {
			u.ActiveImages++
			targets = append(targets, needed)
		}
		for _, l := range targets {
			l.blobs[i.Image.Digest.Encoded()], l.blobs[i.Image.ConfigDigest.Encoded()] = true, true
			for _, d := range i.Image.LayerDescriptors() {
				l.addLayer(d)
			}
		}
	}
	cached := live{blobs: make(map[string]bool), layers: make(map[string]bool)}
	if err := s.eachCached(func(e CacheEntry) {
		u.Cached++
		if !e.Layer.Empty {
			cached.addLayer(e.Layer)
		}
	}); err != nil {
		return u, err
	}
	if u.Reclaimable, err = s.sizeOf(ofImages, needed, cached); err != nil {
		return u, err
	}
	u.CacheOnly, err = s.sizeOf(cached, ofImages)
	return u, err
}

// sizeOf is what the blobs and layers of one set take that none of the others has.
func (s *Store) sizeOf(set live, but ...live) (sum int64, err error) {
	skip := func(of func(live) map[string]bool, name string) bool {
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
	for name := range set.blobs {
		if !skip(func(l live) map[string]bool { return l.blobs }, name) {
			add(s.path("oci", v1.ImageBlobsDir, "sha256", name))
		}
	}
	for name := range set.layers {
		if !skip(func(l live) map[string]bool { return l.layers }, name) {
			add(s.path("layers", s.variant, name))
		}
	}
	return sum, err
}
