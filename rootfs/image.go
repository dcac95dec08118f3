// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// annotationOrigin is, at a manifest in the index, the digest by which it was
// pulled where that is another than its own: that of a list of platforms.
const annotationOrigin = "io.github.claude-pocket-console.cpc.origin"

// catalog is the index of a store at one moment, and the blobs behind it.
type catalog struct {
	from store.Reader
	idx  *v1.Index
}

func (s *Store) catalog() (catalog, error) {
	idx, err := s.Index()
	return catalog{s, idx}, err
}

// Image returns the image that ref names: by a name as people type it, by
// name@digest (of its manifest, or the digest it was pulled by), or by the
// start of its id. The error is ErrNotFound if there is none.
// Of a name for several platforms it is the image for the host's, if there is
// one.
func (s *Store) Image(ctx context.Context, ref string) (*Image, error) {
	return s.image(ctx, ref, nil)
}

func (s *Store) image(ctx context.Context, ref string, p *v1.Platform) (*Image, error) {
	c, err := s.catalog()
	if err != nil {
		return nil, err
	}
	d, err := c.resolve(ref)
	if err != nil {
		return nil, err
	}
	img, err := c.loadEntry(d, p)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return img, ctx.Err()
}

// loadEntry loads what an entry of the index stands for on a platform.
func (c catalog) loadEntry(d v1.Descriptor, p *v1.Platform) (*Image, error) {
	m, err := choose(c.from, d, p)
	if err != nil {
		return nil, err
	}
	img, err := store.LoadImage(c.from, m)
	if err != nil {
		return nil, err
	}
	img.Names = store.NamesOf(c.idx, d.Digest)
	if store.IsIndex(d) {
		img.Index = d.Digest
	}
	return img, nil
}

// resolve finds the manifest that ref means.
func (c catalog) resolve(ref string) (v1.Descriptor, error) {
	name, nameErr := ParseReference(ref)
	if nameErr == nil {
		if d, ok := byName(c.idx, name); ok {
			return d, nil
		}
		if d, ok := c.memberByName(name); ok {
			return d, nil
		}
	}
	if prefix, ok := idPrefix(ref); ok {
		d, err := c.byID(prefix)
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
	} else if nameErr != nil {
		return v1.Descriptor{}, nameErr
	}
	return v1.Descriptor{}, fmt.Errorf("%w: %s", ErrNotFound, ref)
}

func byName(idx *v1.Index, name string) (v1.Descriptor, bool) {
	repo, want := splitDigest(name)
	for _, m := range idx.Manifests {
		if !store.IsImage(m) {
			continue
		}
		have := store.RefName(m)
		if have == name {
			return m, true
		}
		if want != "" && repoOf(strings.Split(have, "@")[0]) == repo &&
			(m.Digest == want || m.Annotations[annotationOrigin] == want.String()) {
			return m, true
		}
	}
	return v1.Descriptor{}, false
}

// memberByName is byName for the digest of a member of an image for several
// platforms: name@digest.
func (c catalog) memberByName(name string) (v1.Descriptor, bool) {
	repo, want := splitDigest(name)
	if want == "" {
		return v1.Descriptor{}, false
	}
	for _, m := range c.idx.Manifests {
		if repoOf(strings.Split(store.RefName(m), "@")[0]) != repo {
			continue
		}
		for _, of := range store.MembersOf(c.from, m) {
			if of.Digest == want {
				return of, true
			}
		}
	}
	return v1.Descriptor{}, false
}

// byID finds the one image whose id, or manifest's digest, starts with prefix:
// among those that the index of the store lists, and else among the members of
// those for several platforms.
func (c catalog) byID(prefix string) (v1.Descriptor, error) {
	found, members := make(map[digest.Digest]v1.Descriptor), make(map[digest.Digest]v1.Descriptor)
	for _, m := range c.idx.Manifests {
		if !store.IsImage(m) {
			continue
		}
		if strings.HasPrefix(m.Digest.Encoded(), prefix) {
			found[m.Digest] = m
			continue
		}
		if img, err := c.loadEntry(m, nil); err == nil && strings.HasPrefix(img.ConfigDigest.Encoded(), prefix) {
			found[m.Digest] = m
		}
		for _, of := range store.MembersOf(c.from, m) {
			if hasID(c.from, of, prefix) {
				members[of.Digest] = of
			}
		}
	}
	if len(found) == 0 {
		found = members
	}
	if len(found) > 1 {
		return v1.Descriptor{}, fmt.Errorf("image id %s: %d images start with it: give more of the id", prefix, len(found))
	}
	for _, d := range found {
		return d, nil
	}
	return v1.Descriptor{}, fmt.Errorf("%w: %s", ErrNotFound, prefix)
}

func hasID(from store.Reader, d v1.Descriptor, prefix string) bool {
	if strings.HasPrefix(d.Digest.Encoded(), prefix) {
		return true
	}
	img, err := store.LoadImage(from, d)
	return err == nil && strings.HasPrefix(img.ConfigDigest.Encoded(), prefix)
}

// Images returns all images of the store, newest first. One that cannot be
// read does not hide the others: they are returned together with the error.
func (s *Store) Images(ctx context.Context) ([]*Image, error) {
	c, err := s.catalog()
	if err != nil {
		return nil, err
	}
	var out []*Image
	var errs []error
	seen := make(map[digest.Digest]bool)
	for _, m := range c.idx.Manifests {
		if seen[m.Digest] || !store.IsImage(m) {
			continue
		}
		seen[m.Digest] = true
		img, err := c.loadEntry(m, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", cmp.Or(store.RefName(m), m.Digest.String()), err))
			continue
		}
		out = append(out, img)
	}
	slices.SortStableFunc(out, func(a, b *Image) int {
		switch x, y := a.Config.Created, b.Config.Created; {
		case x == nil || y == nil:
			return cmp.Compare(strings.Join(a.Names, " "), strings.Join(b.Names, " "))
		default:
			return y.Compare(*x)
		}
	})
	return out, errors.Join(append(errs, ctx.Err())...)
}

// Tag gives the image that src means the further name dst.
func (s *Store) Tag(ctx context.Context, src, dst string) error {
	name, err := parseTag(dst)
	if err != nil {
		return err
	}
	return s.Change(ctx, func(idx *v1.Index) error {
		d, err := catalog{s, idx}.resolve(src)
		if err == nil {
			store.AddNames(idx, d, []string{name})
		}
		return err
	})
}

// Name gives the image of a digest, of its manifest or index, names that others
// lose: all of them or none. It returns all of the image's.
func (s *Store) Name(ctx context.Context, d digest.Digest, names []string) (all []string, err error) {
	canonical, err := parseTags(names)
	if err != nil {
		return nil, err
	}
	err = s.Change(ctx, func(idx *v1.Index) error {
		at := slices.IndexFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d && store.IsImage(m) })
		if at < 0 {
			return fmt.Errorf("%w: %s was removed meanwhile", ErrNotFound, d)
		}
		if len(canonical) > 0 {
			store.AddNames(idx, idx.Manifests[at], canonical)
		}
		all = store.NamesOf(idx, d)
		return nil
	})
	return all, err
}

// PutImage writes configuration and manifest of an image of these layers,
// bottom first, and gives it its names, which other images lose. It fills in
// RootFS; History is the caller's. Empty layers are left out.
func (s *Store) PutImage(ctx context.Context, cfg Config, layers []LayerDescriptor, names []string) (*Image, error) {
	return s.PutAnnotated(ctx, cfg, layers, names, nil)
}

// PutAnnotated is PutImage with annotations for the manifest.
func (s *Store) PutAnnotated(ctx context.Context, cfg Config, layers []LayerDescriptor, names []string, annotations map[string]string) (_ *Image, err error) {
	canonical, err := parseTags(names)
	if err != nil {
		return nil, err
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return commitImage(ctx, b, imageParts{config: cfg, layers: layers, names: canonical, annotations: annotations})
}

// imageParts are what a new image is made of.
type imageParts struct {
	config      Config
	layers      []LayerDescriptor // bottom first
	names       []string          // canonical
	annotations map[string]string // of the manifest
}

// commitImage commits a batch with configuration and manifest of a new image.
func commitImage(ctx context.Context, b *store.Batch, parts imageParts) (*Image, error) {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}, Annotations: parts.annotations}
	m.SchemaVersion = 2
	cfg := parts.config
	cfg.RootFS = v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range parts.layers {
		if l.Empty {
			continue
		}
		m.Layers = append(m.Layers, ociLayer(l.Descriptor))
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, l.DiffID)
	}
	var err error
	if m.Config, err = b.JSON(cfg, v1.MediaTypeImageConfig); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	d, err := b.JSON(m, v1.MediaTypeImageManifest)
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return commitNamed(ctx, b, d, names{parts.names, nil})
}

// names are those that an image gets, and what is kept about it.
type names struct {
	names []string
	about []v1.Descriptor
}

// commitNamed commits a batch with an image, whose blobs are all there.
func commitNamed(ctx context.Context, b *store.Batch, d v1.Descriptor, n names) (*Image, error) {
	img, err := store.LoadImage(b, d)
	if err != nil {
		return nil, err
	}
	return img, b.Commit(ctx, func(idx *v1.Index) error {
		store.AddNames(idx, d, n.names)
		for _, of := range n.about {
			if !store.HasManifest(idx, of.Digest) {
				idx.Manifests = append(idx.Manifests, of)
			}
		}
		img.Names = store.NamesOf(idx, d.Digest)
		return nil
	})
}

// ociLayer returns a layer's descriptor for an OCI manifest.
func ociLayer(d v1.Descriptor) v1.Descriptor {
	if d.MediaType == store.DockerLayer {
		d.MediaType = v1.MediaTypeImageLayerGzip
	}
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
