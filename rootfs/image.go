// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationOrigin is, at a manifest in the index, the digest by which it was
// pulled where that is another than its own: that of a list of platforms.
const annotationOrigin = "io.github.claude-pocket-console.cpc.origin"

// Image is one image of a store.
type Image struct {
	// Names are the canonical names; none for a dangling image.
	Names []string
	// Digest is the manifest's, ConfigDigest what docker calls the image id.
	Digest, ConfigDigest digest.Digest
	// Index is the digest of the index that has the names, if that is one of
	// several platforms.
	Index    digest.Digest
	Manifest v1.Manifest
	Config   Config
	// Size is that of the manifest and all that it refers to, compressed.
	Size int64
}

// LayerDescriptor is a layer that is in the store as a blob.
type LayerDescriptor struct {
	Descriptor v1.Descriptor `json:"descriptor"`
	// DiffID is the digest of the layer without compression.
	DiffID digest.Digest `json:"diffID"`
	// Empty: nothing changed; there is no blob and the rest is zero.
	Empty bool `json:"empty,omitempty"`
}

// LayerDescriptors returns the image's layers as PutImage takes them, bottom
// first.
func (img *Image) LayerDescriptors() []LayerDescriptor {
	out := make([]LayerDescriptor, len(img.Manifest.Layers))
	for i, d := range img.Manifest.Layers {
		out[i] = LayerDescriptor{Descriptor: d, DiffID: img.Config.RootFS.DiffIDs[i]}
	}
	return out
}

// load reads manifest and configuration, verified, without names.
func (s *Store) load(d v1.Descriptor) (*Image, error) {
	img := &Image{Digest: d.Digest}
	data, err := s.readDocument(d)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if img.Manifest, err = parseManifest(data); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	data, err = s.readDocument(img.Manifest.Config)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if img.Config, err = parseConfig(data, len(img.Manifest.Layers)); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", img.Manifest.Config.Digest, err)
	}
	img.ConfigDigest = img.Manifest.Config.Digest
	img.Size = d.Size + img.Manifest.Config.Size
	for _, l := range img.Manifest.Layers {
		img.Size += l.Size
	}
	return img, nil
}

// maxLayers is how many layers an image may have: as many as one overlay can
// be mounted from (see Mount).
const maxLayers = 200

func parseManifest(data []byte) (v1.Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	if m.SchemaVersion != 2 {
		return m, fmt.Errorf("schema version %d: only 2 is supported", m.SchemaVersion)
	}
	if len(m.Layers) > maxLayers {
		return m, fmt.Errorf("%d layers: at most %d are supported", len(m.Layers), maxLayers)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := checkDigest(d.Digest); err != nil {
			return m, err
		}
		if d.Size < 0 {
			return m, fmt.Errorf("blob %s: negative size", d.Digest)
		}
	}
	return m, nil
}

func parseConfig(data []byte, layers int) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return c, err
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, fmt.Errorf("%d diff ids for %d layers", len(c.RootFS.DiffIDs), layers)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := checkDigest(d); err != nil {
			return c, err
		}
	}
	return c, nil
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
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := s.resolve(idx, ref)
	if err != nil {
		return nil, err
	}
	img, err := s.loadEntry(idx, d, p)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return img, ctx.Err()
}

// loadEntry loads what an entry of the index stands for on a platform.
func (s *Store) loadEntry(idx *v1.Index, d v1.Descriptor, p *v1.Platform) (*Image, error) {
	m, err := s.choose(d, p)
	if err != nil {
		return nil, err
	}
	img, err := s.load(m)
	if err != nil {
		return nil, err
	}
	img.Names = namesOf(idx, d.Digest)
	if isIndex(d) {
		img.Index = d.Digest
	}
	return img, nil
}

func namesOf(idx *v1.Index, d digest.Digest) []string {
	var names []string
	for _, m := range idx.Manifests {
		if m.Digest == d && refName(m) != "" {
			names = append(names, refName(m))
		}
	}
	slices.Sort(names)
	return names
}

// resolve finds the manifest that ref means.
func (s *Store) resolve(idx *v1.Index, ref string) (v1.Descriptor, error) {
	name, nameErr := ParseReference(ref)
	if nameErr == nil {
		if d, ok := byName(idx, name); ok {
			return d, nil
		}
		if d, ok := s.memberByName(idx, name); ok {
			return d, nil
		}
	}
	if prefix, ok := idPrefix(ref); ok {
		d, err := s.byID(idx, prefix)
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
		if !isImage(m) {
			continue
		}
		have := refName(m)
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
func (s *Store) memberByName(idx *v1.Index, name string) (v1.Descriptor, bool) {
	repo, want := splitDigest(name)
	if want == "" {
		return v1.Descriptor{}, false
	}
	for _, m := range idx.Manifests {
		if repoOf(strings.Split(refName(m), "@")[0]) != repo {
			continue
		}
		for _, of := range s.membersOf(m) {
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
func (s *Store) byID(idx *v1.Index, prefix string) (v1.Descriptor, error) {
	found, members := make(map[digest.Digest]v1.Descriptor), make(map[digest.Digest]v1.Descriptor)
	for _, m := range idx.Manifests {
		if !isImage(m) {
			continue
		}
		if strings.HasPrefix(m.Digest.Encoded(), prefix) {
			found[m.Digest] = m
			continue
		}
		if img, err := s.loadEntry(idx, m, nil); err == nil && strings.HasPrefix(img.ConfigDigest.Encoded(), prefix) {
			found[m.Digest] = m
		}
		for _, of := range s.membersOf(m) {
			if s.hasID(of, prefix) {
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

func (s *Store) hasID(d v1.Descriptor, prefix string) bool {
	if strings.HasPrefix(d.Digest.Encoded(), prefix) {
		return true
	}
	img, err := s.load(d)
	return err == nil && strings.HasPrefix(img.ConfigDigest.Encoded(), prefix)
}

// Images returns all images of the store, newest first. One that cannot be
// read does not hide the others: they are returned together with the error.
func (s *Store) Images(ctx context.Context) ([]*Image, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []*Image
	var errs []error
	seen := make(map[digest.Digest]bool)
	for _, m := range idx.Manifests {
		if seen[m.Digest] || !isImage(m) {
			continue
		}
		seen[m.Digest] = true
		img, err := s.loadEntry(idx, m, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", cmp.Or(refName(m), m.Digest.String()), err))
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
	return s.changeIndex(ctx, func(idx *v1.Index) error {
		d, err := s.resolve(idx, src)
		if err == nil {
			addNames(idx, d, []string{name})
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
	err = s.changeIndex(ctx, func(idx *v1.Index) error {
		at := slices.IndexFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d && isImage(m) })
		if at < 0 {
			return fmt.Errorf("%w: %s was removed meanwhile", ErrNotFound, d)
		}
		if len(canonical) > 0 {
			addNames(idx, idx.Manifests[at], canonical)
		}
		all = namesOf(idx, d)
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
	gc, err := s.lockGC(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}, Annotations: annotations}
	m.SchemaVersion = 2
	cfg.RootFS = v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range layers {
		if l.Empty {
			continue
		}
		m.Layers = append(m.Layers, ociLayer(l.Descriptor))
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, l.DiffID)
	}
	if m.Config, err = s.putJSON(ctx, cfg, v1.MediaTypeImageConfig); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	d, err := s.putJSON(ctx, m, v1.MediaTypeImageManifest)
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return s.name(ctx, d, canonical)
}

// name enters a manifest whose blobs are all there into the index.
func (s *Store) name(ctx context.Context, d v1.Descriptor, names []string) (*Image, error) {
	img, err := s.load(d)
	if err != nil {
		return nil, err
	}
	return img, s.changeIndex(ctx, func(idx *v1.Index) error {
		addNames(idx, d, names)
		img.Names = namesOf(idx, d.Digest)
		return nil
	})
}

func (s *Store) putJSON(ctx context.Context, v any, mediaType string) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return s.putDocument(ctx, data, mediaType)
}

// ociLayer returns a layer's descriptor for an OCI manifest.
func ociLayer(d v1.Descriptor) v1.Descriptor {
	if d.MediaType == dockerLayer {
		d.MediaType = v1.MediaTypeImageLayerGzip
	}
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
