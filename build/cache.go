// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// cached looks for a step's result in the store, then in the caches elsewhere. One
// that fails is warned about: a cache is no promise.
func (b *builder) cached(ctx context.Context, key digest.Digest) (rootfs.CacheEntry, bool, error) {
	entry, ok, err := b.Store.CacheGet(key)
	if err != nil || ok {
		return entry, ok, err
	}
	for _, c := range b.Caches {
		entry, ok, err := c.Get(ctx, key)
		if ctx.Err() != nil {
			return entry, false, context.Cause(ctx)
		}
		if err != nil {
			b.Progress.Warn(fmt.Sprintf("cache: %v", err))
			continue
		}
		if ok {
			return entry, true, nil
		}
	}
	return entry, false, nil
}

// annotations are those of the image of stage s.
func (b *builder) annotations(s *stage) (map[string]string, error) {
	if !b.InlineCache {
		return b.Annotations, nil
	}
	var img rootfs.Image
	for _, l := range s.layers {
		img.Config.RootFS.DiffIDs = append(img.Config.RootFS.DiffIDs, l.DiffID)
	}
	entries, err := b.Store.CacheList((*b.Used)[b.first:], []*rootfs.Image{&img})
	if err != nil {
		return nil, err
	}
	inline, err := rootfs.InlineCache(entries)
	if err != nil {
		return nil, err
	}
	if inline == nil {
		b.Progress.Warn("the image does not carry its cache: it is too large")
		return b.Annotations, nil
	}
	maps.Copy(inline, b.Annotations)
	return inline, nil
}
