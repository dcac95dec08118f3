// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// annotationCache holds the entries of an image that is its own cache.
const annotationCache = "io.claude-pocket-console.cpc.buildcache.v1"

// maxInline bounds that annotation: registries take manifests of 4 MiB.
const maxInline = 1 << 20

// RemoteCache is a build cache in a registry. Layers are downloaded when they
// are asked for.
type RemoteCache struct {
	s       *Store
	p       *puller
	entries map[digest.Digest]CacheEntry
}

// OpenCache reads the list of a cache that PushCache wrote, or of an image with
// InlineCache. An image without has no entries, which is no error.
func (s *Store) OpenCache(ctx context.Context, ref string, o PullOptions) (*RemoteCache, error) {
	canonical, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	o.Unpack = true
	p := &puller{s: s, progress: o.Progress, client: o.client(), o: o}
	at, err := p.client.Parse(canonical)
	if err != nil {
		return nil, err
	}
	login, err := p.client.Login(ctx, at.Context(), transport.PullScope)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", ref, ExplainRemote(err))
	}
	p.from = &remoteRepo{at.Context(), login}
	desc, err := remote.Get(at, p.remote(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", ref, ExplainRemote(err))
	}
	if err := settleType(desc); err != nil {
		return nil, fmt.Errorf("cache %s: %w", ref, ExplainRemote(err))
	}
	img, err := p.imageOf(ctx, at, desc)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", ref, ExplainRemote(err))
	}
	c := &RemoteCache{s: s, p: p}
	if c.entries, err = cachedIn(img); err != nil {
		return nil, fmt.Errorf("cache %s: %w", ref, ExplainRemote(err))
	}
	return c, nil
}

// cachedIn reads the entries of a cache or an image.
func cachedIn(img gcr.Image) (map[digest.Digest]CacheEntry, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	list := []byte(m.Annotations[annotationCache])
	if string(m.Config.MediaType) == cacheType {
		if m.Config.Size > store.MaxDocument {
			return nil, fmt.Errorf("its list is %d bytes large: at most %d are read", m.Config.Size, store.MaxDocument)
		}
		if list, err = img.RawConfigFile(); err != nil {
			return nil, err
		}
	}
	entries := map[digest.Digest]CacheEntry{}
	if len(list) == 0 {
		return entries, nil
	}
	return entries, json.Unmarshal(list, &entries)
}

// Get returns the entry of key and takes it over into the store, with its
// layer. What it says of the step is as good as who wrote the cache.
func (c *RemoteCache) Get(ctx context.Context, key digest.Digest) (CacheEntry, bool, error) {
	e, ok := c.entries[key]
	if !ok {
		return e, false, nil
	}
	if !e.Layer.Empty {
		if err := errors.Join(store.CheckDigest(e.Layer.Descriptor.Digest), store.CheckDigest(e.Layer.DiffID)); err != nil {
			return e, false, err
		}
		if err := c.bring(ctx, e.Layer); err != nil {
			return e, false, err
		}
	}
	return e, true, c.s.CachePut(key, e)
}

// bring downloads a layer, which stays until the store is closed.
func (c *RemoteCache) bring(ctx context.Context, l LayerDescriptor) (err error) {
	if err := c.s.HoldUntilClose(ctx); err != nil {
		return err
	}
	b, err := c.s.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return ExplainRemote(c.p.fetchAll(ctx, b, []LayerDescriptor{l}))
}

// CacheList returns the entries of keys that the store has; with images, only
// those whose layers are of these images, or that have none.
func (s *Store) CacheList(keys []digest.Digest, images []*Image) (map[digest.Digest]CacheEntry, error) {
	wanted := func(LayerDescriptor) bool { return true }
	if images != nil {
		wanted = func(l LayerDescriptor) bool {
			return slices.ContainsFunc(images, func(img *Image) bool { return slices.Contains(img.Config.RootFS.DiffIDs, l.DiffID) })
		}
	}
	entries := make(map[digest.Digest]CacheEntry, len(keys))
	for _, key := range keys {
		e, ok, err := s.CacheGet(key)
		if err != nil {
			return nil, err
		}
		if ok && (e.Layer.Empty || wanted(e.Layer)) {
			entries[key] = e
		}
	}
	return entries, nil
}

// InlineCache returns the annotation that makes an image its own cache; none if
// the entries are too many.
func InlineCache(entries map[digest.Digest]CacheEntry) (map[string]string, error) {
	list, err := json.Marshal(entries)
	if err != nil || len(list) > maxInline {
		return nil, err
	}
	return map[string]string{annotationCache: string(list)}, nil
}

// PushCache sends entries of the build cache, with their layers, to a registry,
// as an image whose configuration is their list.
func (s *Store) PushCache(ctx context.Context, ref string, entries map[digest.Digest]CacheEntry, client *registry.Client) error {
	canonical, err := parseTag(ref)
	if err != nil {
		return err
	}
	if client == nil {
		client = registry.New(registry.Options{})
	}
	to, err := client.Parse(canonical)
	if err != nil {
		return err
	}
	p := &pusher{s: s, to: to}
	if p.remote, err = client.Options(ctx, to.Context().Registry); err != nil {
		return err
	}
	img, err := p.cacheImage(entries)
	if err == nil {
		err = remote.Write(to, img, p.remote...)
	}
	if err != nil {
		return fmt.Errorf("push cache %s: %w", ref, explainPush(err))
	}
	return nil
}

func (p *pusher) cacheImage(entries map[digest.Digest]CacheEntry) (gcr.Image, error) {
	list, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: cacheType, Digest: digest.FromBytes(list), Size: int64(len(list))},
		Layers: []v1.Descriptor{},
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		l := entries[key].Layer
		if !l.Empty && !slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.Digest == l.Descriptor.Digest }) {
			m.Layers = append(m.Layers, l.Descriptor)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&cacheImage{storedImage{p: p, raw: raw, mediaType: v1.MediaTypeImageManifest, manifest: m}, list})
}

// cacheImage is a cache as package partial wants it.
type cacheImage struct {
	storedImage
	list []byte
}

// RawConfigFile is the list.
func (c *cacheImage) RawConfigFile() ([]byte, error) { return c.list, nil }
