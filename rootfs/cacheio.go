// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// cacheType is the media type of a list of cache entries in an OCI layout.
const cacheType = "application/vnd.claude-pocket-console.cpc.buildcache.v1+json"

// ExportCache writes entries of the build cache (CacheList), with their layers, as an
// OCI image layout into a directory, over what an earlier export left there.
func (s *Store) ExportCache(ctx context.Context, dir string, entries map[digest.Digest]CacheEntry) error {
	blobs := filepath.Join(dir, v1.ImageBlobsDir, "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil { //nolint:gosec // for other programs to read
		return fmt.Errorf("export cache: %w", err)
	}
	for _, e := range entries {
		if e.Layer.Empty {
			continue
		}
		if err := s.exportBlob(ctx, filepath.Join(blobs, e.Layer.Descriptor.Digest.Encoded()), e.Layer.Descriptor); err != nil {
			return fmt.Errorf("export cache: %w", err)
		}
	}
	list, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	d := v1.Descriptor{MediaType: cacheType, Digest: digest.FromBytes(list), Size: int64(len(list))}
	idx := store.NewIndex()
	idx.Manifests = []v1.Descriptor{d}
	index, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	// The index last: what it names is there.
	for _, f := range []struct {
		name string
		data []byte
	}{
		{filepath.Join(blobs, d.Digest.Encoded()), list},
		{filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`)},
		{filepath.Join(dir, v1.ImageIndexFile), index},
	} {
		if err := atomicfile.Replace(f.name, atomicfile.Options{Mode: 0o644, Volatile: true}, atomicfile.Content(f.data)); err != nil {
			return fmt.Errorf("export cache: %w", err)
		}
	}
	return nil
}

func (s *Store) exportBlob(ctx context.Context, to string, d v1.Descriptor) (err error) {
	if st, err := os.Stat(to); err == nil && st.Size() == d.Size {
		return nil
	}
	in, err := s.OpenBlob(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return atomicfile.Replace(to, atomicfile.Options{Mode: 0o644, Volatile: true}, func(f *os.File) error {
		_, err := io.Copy(f, in)
		return errors.Join(err, ctx.Err())
	})
}

// ImportCache takes the entries that ExportCache wrote. Every layer is verified
// by its digest; what an entry says of a step is as good as who wrote it, so an
// entry of the store's own is never replaced.
func (s *Store) ImportCache(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("import cache: %w", err)
	}
	defer root.Close()
	var idx v1.Index
	if err := readJSON(root, v1.ImageIndexFile, "", &idx); err != nil {
		return fmt.Errorf("import cache %s: %w", dir, err)
	}
	if len(idx.Manifests) != 1 || idx.Manifests[0].MediaType != cacheType || store.CheckDigest(idx.Manifests[0].Digest) != nil {
		return fmt.Errorf("import cache %s: it is not a cache of cpc", dir)
	}
	entries := map[digest.Digest]CacheEntry{}
	d := idx.Manifests[0].Digest
	if err := readJSON(root, v1.ImageBlobsDir+"/sha256/"+d.Encoded(), d, &entries); err != nil {
		return fmt.Errorf("import cache %s: %w", dir, err)
	}
	for key, e := range entries {
		if err := s.importEntry(ctx, root, key, e); err != nil {
			return fmt.Errorf("import cache %s: %w", dir, err)
		}
	}
	return nil
}

// readJSON reads a bounded document; want, if not "", is its digest.
func readJSON(root *os.Root, name string, want digest.Digest, v any) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, store.MaxDocument))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if want != "" && digest.FromBytes(data) != want {
		return &CorruptError{Digest: want, Path: name, Why: "content has another digest"}
	}
	return json.Unmarshal(data, v)
}

func (s *Store) importEntry(ctx context.Context, root *os.Root, key digest.Digest, e CacheEntry) (err error) {
	if _, have, err := s.CacheGet(key); err != nil || have {
		return err
	}
	if e.Layer.Empty {
		return s.CachePut(key, e)
	}
	d := e.Layer.Descriptor
	if err := errors.Join(store.CheckDigest(d.Digest), store.CheckDigest(e.Layer.DiffID)); err != nil {
		return err
	}
	if err := s.HoldUntilClose(ctx); err != nil {
		return err
	}
	f, err := root.Open(v1.ImageBlobsDir + "/sha256/" + d.Digest.Encoded())
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err = b.Blob(f, d); err == nil {
		err = b.Keep()
	}
	if err != nil {
		return err
	}
	return s.CachePut(key, e)
}
