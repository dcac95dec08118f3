// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CacheDropped is what BoundCache has dropped of the build cache.
type CacheDropped struct {
	// Steps and Mounts count results of steps and cache mounts.
	Steps, Mounts int
	// Freed is what they took of the disk, in bytes.
	Freed int64
}

// cachePart is something that can be dropped: the result of a step, or a cache mount.
type cachePart struct {
	path    string
	used    time.Time
	mount   bool
	size    int64    // of a mount
	objects []string // paths of the blob and the layer of a result, which others may share
}

// BoundCache drops what the build cache holds, the longest unused first, until
// blobs and layers that it alone needs, and its cache mounts, take at most limit
// bytes of the disk. What an image needs costs the cache nothing.
//
// Preconditions: U0; the caller does not Hold the store.
func BoundCache(ctx context.Context, s *Store, limit int64) (d CacheDropped, err error) {
	parts, err := cacheParts(s)
	if err != nil {
		return d, fmt.Errorf("bound the build cache: %w", err)
	}
	users, total := make(map[string]int), int64(0)
	sizes := make(map[string]int64)
	for _, p := range parts {
		total += p.size
		for _, o := range p.objects {
			if users[o]++; users[o] == 1 {
				if sizes[o], err = diskUsage(o); err != nil {
					return d, fmt.Errorf("bound the build cache: %w", err)
				}
				total += sizes[o]
			}
		}
	}
	slices.SortFunc(parts, func(a, b cachePart) int { return a.used.Compare(b.used) })
	for _, p := range parts {
		if total <= limit || ctx.Err() != nil {
			break
		}
		freed, dropped, err := p.drop(users, sizes)
		if err != nil {
			return d, fmt.Errorf("bound the build cache: %w", err)
		}
		if !dropped {
			continue
		}
		total, d.Freed = total-freed, d.Freed+freed
		if p.mount {
			d.Mounts++
		} else {
			d.Steps++
		}
	}
	if d.Steps+d.Mounts == 0 {
		return d, ctx.Err()
	}
	return d, errors.Join(s.Collect(ctx), ctx.Err())
}

// drop removes a part, and says what of the disk is no longer needed for it. A
// cache mount that a step uses stays.
func (p *cachePart) drop(users map[string]int, sizes map[string]int64) (freed int64, dropped bool, err error) {
	if p.mount {
		freed, err = pruneCacheMount(strings.TrimSuffix(p.path, ".filled"))
		return freed, err == nil && !exists(p.path), err
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, false, err
	}
	for _, o := range p.objects {
		if users[o]--; users[o] == 0 {
			freed += sizes[o]
		}
	}
	return freed, true, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// cacheParts lists what there is of this variant. Objects that images need are left out.
func cacheParts(s *Store) ([]cachePart, error) {
	idx, err := s.Index()
	if err != nil {
		return nil, err
	}
	needed := NewObjects()
	for _, m := range idx.Manifests {
		if !IsImage(m) {
			continue
		}
		if err := needed.addEntry(s, m); err != nil {
			return nil, err
		}
	}
	var parts []cachePart
	steps, err := filepath.Glob(s.path("cache", s.variant, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range steps {
		p := cachePart{path: path, used: modified(path)}
		e, err := readCacheEntry(path)
		if err == nil && !e.Layer.Empty {
			if name := e.Layer.Descriptor.Digest.Encoded(); !needed.Blobs[name] {
				p.objects = append(p.objects, s.path(blobDir, name))
			}
			if name := e.Layer.DiffID.Encoded(); !needed.Layers[name] {
				p.objects = append(p.objects, s.path("layers", s.variant, name))
			}
		}
		if len(p.objects) > 0 { // else there is nothing to gain
			parts = append(parts, p)
		}
	}
	mounts, err := filepath.Glob(s.path("mounts", s.variant, "*.filled"))
	for _, path := range mounts {
		parts = append(parts, cachePart{path: path, used: modified(path), mount: true, size: treeSize(strings.TrimSuffix(path, ".filled"))})
	}
	return parts, err
}

// modified is when a cache entry or mount was used last; long ago if that is unknown.
func modified(path string) time.Time {
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// CacheChanged is when the build cache has got a new result of a step, or lost one.
func CacheChanged(s *Store) time.Time { return modified(s.path("cache", s.variant)) }
