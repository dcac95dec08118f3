// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// CacheEntry is the result of one build step.
type CacheEntry struct {
	Layer  LayerDescriptor `json:"layer"`
	Config json.RawMessage `json:"config,omitempty"`
}

// buildCache keeps the results of build steps. What an entry refers to is not
// collected.
type buildCache struct {
	at      places
	mapping idmap.Mapping
}

// CacheGet returns the entry of key; false if there is none, or none that can
// be used: what is damaged, or without its blob, is as good as not there. A
// build must Hold the store from before, so that the layer stays.
func (c buildCache) CacheGet(key digest.Digest) (CacheEntry, bool, error) {
	if err := CheckDigest(key); err != nil {
		return CacheEntry{}, false, err
	}
	e, err := readCacheEntry(c.at.cachePath(key))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		return CacheEntry{}, false, nil
	}
	if err != nil {
		return CacheEntry{}, false, err
	}
	if !e.Layer.Empty {
		st, err := os.Stat(c.at.blobPath(e.Layer.Descriptor.Digest))
		if err != nil || st.Size() != e.Layer.Descriptor.Size {
			return CacheEntry{}, false, nil //nolint:nilerr // a miss, whatever the reason
		}
	}
	now := time.Now()
	return e, true, os.Chtimes(c.at.cachePath(key), now, now) // for PruneCache
}

// CachePut stores an entry, over an older one.
func (c buildCache) CachePut(key digest.Digest, e CacheEntry) error {
	if err := CheckDigest(key); err != nil {
		return err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("build cache: %w", err)
	}
	return atomicfile.Write(c.at.cachePath(key), data)
}

// PruneCache removes entries that were not used for so long. What they alone
// referred to goes with the next collection.
func (c buildCache) PruneCache(unused time.Duration) error {
	dir := c.at.path("cache", c.at.variant)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		st, err := e.Info()
		if err == nil && time.Since(st.ModTime()) >= unused {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func readCacheEntry(path string) (CacheEntry, error) {
	var e CacheEntry
	data, err := ownfile.Read(path, MaxDocument)
	if ownfile.IsStray(err) {
		return e, fmt.Errorf("build cache: %w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("build cache %s: %w: %w", path, ErrCorrupt, err)
	}
	if e.Layer.Empty {
		return e, nil
	}
	if err := errors.Join(CheckDigest(e.Layer.Descriptor.Digest), CheckDigest(e.Layer.DiffID)); err != nil {
		return e, fmt.Errorf("build cache %s: %w: %w", path, ErrCorrupt, err)
	}
	return e, nil
}

// EachCached calls visit for the entries of all variants: they share blobs.
func (c buildCache) EachCached(visit func(CacheEntry)) error {
	files, err := filepath.Glob(c.at.path("cache", "*", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue // unfinished
		}
		e, err := readCacheEntry(f)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, os.ErrNotExist) {
			continue // can never be used
		}
		if err != nil {
			return err
		}
		visit(e)
	}
	return nil
}
