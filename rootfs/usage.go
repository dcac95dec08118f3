// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/rootfs/store"
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
		u := ImageUsage{Image: img, InUse: s.InUse(img.Digest)}
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

// Usage adds up what the store takes.
func (s *Store) Usage(ctx context.Context) (u Usage, err error) {
	disk, err := s.DiskUse()
	if err != nil {
		return u, err
	}
	u.Blobs, u.Layers, u.Scratch, u.CacheMounts = disk.Blobs, disk.Layers, disk.Scratch, disk.CacheMounts
	images, err := s.ImageUsages(ctx)
	if err != nil {
		return u, err
	}
	needed := store.NewObjects()
	ofImages := store.NewObjects()
	for _, i := range images {
		u.Images++
		ofImages.AddImage(i.Image)
		if i.InUse {
			u.ActiveImages++
			needed.AddImage(i.Image)
		}
	}
	cached := store.NewObjects()
	if err := s.EachCached(func(e CacheEntry) {
		u.Cached++
		if !e.Layer.Empty {
			cached.AddLayer(e.Layer)
		}
	}); err != nil {
		return u, err
	}
	if u.Reclaimable, err = s.SizeOf(ofImages, needed, cached); err != nil {
		return u, err
	}
	u.CacheOnly, err = s.SizeOf(cached, ofImages)
	return u, err
}
