// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// HostPlatform is what images run on here without emulation.
func HostPlatform() v1.Platform {
	return v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}
}

// ParsePlatform understands os/arch[/variant] and the usual other names, as in
// linux/amd64, arm64, linux/arm/v7 or x86_64.
func ParsePlatform(s string) (v1.Platform, error) {
	p, err := platforms.Parse(s)
	if err != nil {
		return p, fmt.Errorf("platform %q: want OS/ARCH[/VARIANT], as linux/amd64 or linux/arm/v7", s)
	}
	return platforms.Normalize(p), nil
}

// FormatPlatform is the inverse: os/arch[/variant].
func FormatPlatform(p v1.Platform) string { return platforms.Format(platforms.Normalize(p)) }

// Platform is the one that the image is for.
func (img *Image) Platform() v1.Platform { return platforms.Normalize(img.Config.Platform) }

// isIndex reports whether an entry is an index: one name for images of several
// platforms.
func isIndex(d v1.Descriptor) bool {
	return !hasArtifactType(d) && (d.MediaType == v1.MediaTypeImageIndex || d.MediaType == dockerList)
}

// isImage reports whether an entry is what people call an image.
func isImage(d v1.Descriptor) bool { return isManifest(d) || isIndex(d) }

// maxPlatforms bounds what an index may list.
const maxPlatforms = 256

func parseIndex(data []byte) (*v1.Index, error) {
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, err
	}
	if idx.SchemaVersion != 2 {
		return nil, fmt.Errorf("schema version %d: only 2 is supported", idx.SchemaVersion)
	}
	if len(idx.Manifests) > maxPlatforms {
		return nil, fmt.Errorf("%d manifests: at most %d are supported", len(idx.Manifests), maxPlatforms)
	}
	for _, d := range idx.Manifests {
		if err := checkDigest(d.Digest); err != nil {
			return nil, err
		}
		if d.Size < 0 {
			return nil, fmt.Errorf("manifest %s: negative size", d.Digest)
		}
	}
	return &idx, nil
}

// members returns the images of an index that are in the store. Those of other
// platforms, and what is no image, need not be.
func (s *Store) members(d v1.Descriptor) ([]v1.Descriptor, error) {
	data, err := s.readDocument(d)
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	idx, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("image index %s: %w", d.Digest, err)
	}
	var here []v1.Descriptor
	for _, m := range idx.Manifests {
		if !isManifest(m) || m.Platform == nil || m.Platform.Architecture == "unknown" {
			continue
		}
		if _, err := os.Stat(s.blobPath(m.Digest)); err == nil {
			here = append(here, m)
		}
	}
	return here, nil
}

// membersOf returns those of an entry that is an index, as far as it can be read.
func (s *Store) membersOf(d v1.Descriptor) []v1.Descriptor {
	if !isIndex(d) {
		return nil
	}
	here, err := s.members(d)
	if err != nil {
		return nil // reading the image itself says why
	}
	return here
}

// manifest finds an image by the digest of its manifest: an entry of the store's
// index or a member of one.
func (s *Store) manifest(idx *v1.Index, want digest.Digest) (v1.Descriptor, bool) {
	for _, m := range idx.Manifests {
		if m.Digest == want && isManifest(m) {
			return m, true
		}
	}
	for _, m := range idx.Manifests {
		for _, of := range s.membersOf(m) {
			if of.Digest == want {
				return of, true
			}
		}
	}
	return v1.Descriptor{}, false
}

// wanted returns the images that are meant by an entry and a platform: all that
// are here if it is nil, and else the one, in place of its index.
func (s *Store) wanted(d v1.Descriptor, p *v1.Platform) (entry v1.Descriptor, members []v1.Descriptor, err error) {
	if p == nil && isIndex(d) {
		members, err = s.members(d)
		return d, members, err
	}
	if p != nil {
		of := d
		if d, err = s.choose(d, p); err != nil {
			return d, nil, err
		}
		img, err := s.load(d)
		if err != nil {
			return d, nil, err
		}
		if isIndex(of) {
			img.Index = of.Digest
		}
		if !img.matches(*p) {
			return d, nil, fmt.Errorf("%w (%s): it is for %s", ErrNoPlatform, FormatPlatform(*p), FormatPlatform(img.Platform()))
		}
	}
	return d, []v1.Descriptor{d}, nil
}

// choose returns the manifest that an entry stands for on a platform; without
// one on the host's, or else the first there is.
func (s *Store) choose(d v1.Descriptor, want *v1.Platform) (v1.Descriptor, error) {
	if !isIndex(d) {
		return d, nil
	}
	here, err := s.members(d)
	if err != nil {
		return d, err
	}
	p := HostPlatform()
	if want != nil {
		p = *want
	}
	fitting := best(here, p)
	switch {
	case len(fitting) > 0:
		return fitting[0], nil
	case want == nil && len(here) > 0:
		return here[0], nil
	}
	return d, fmt.Errorf("%w: %s for platform %s", ErrNotFound, d.Digest, FormatPlatform(p))
}

// ImageFor is Image for one platform. Of a name for images of several, that
// for this platform is returned; the error is ErrNotFound if it is not here.
func (s *Store) ImageFor(ctx context.Context, ref string, p v1.Platform) (*Image, error) {
	img, err := s.image(ctx, ref, &p)
	if err != nil {
		return nil, err
	}
	if !img.matches(p) {
		return nil, fmt.Errorf("%w: %s for platform %s: it is for %s", ErrNotFound, ref, FormatPlatform(p), FormatPlatform(img.Platform()))
	}
	return img, nil
}

// Members returns the images of all platforms that ref names.
func (s *Store) Members(ctx context.Context, ref string) ([]*Image, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := s.resolve(idx, ref)
	if err != nil {
		return nil, err
	}
	all := []v1.Descriptor{d}
	if isIndex(d) {
		if all, err = s.members(d); err != nil {
			return nil, err
		}
	}
	var out []*Image
	for _, m := range all {
		img, err := s.load(m)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
		img.Names = namesOf(idx, d.Digest)
		out = append(out, img)
	}
	return out, ctx.Err()
}

// PutIndex gives names to images of several platforms together, which have to
// be in the store. It returns the digest of the index.
func (s *Store) PutIndex(ctx context.Context, images []*Image, names []string) (_ digest.Digest, err error) {
	canonical, err := parseTags(names)
	if err != nil {
		return "", err
	}
	gc, err := s.lockGC(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	idx := newIndex()
	for _, img := range images {
		st, err := os.Stat(s.blobPath(img.Digest))
		if err != nil {
			return "", fmt.Errorf("image index: %w", err)
		}
		p := img.Platform()
		mediaType := img.Manifest.MediaType
		if mediaType == "" {
			mediaType = v1.MediaTypeImageManifest
		}
		idx.Manifests = append(idx.Manifests, v1.Descriptor{MediaType: mediaType, Digest: img.Digest, Size: st.Size(), Platform: &p})
	}
	d, err := s.putJSON(ctx, idx, v1.MediaTypeImageIndex)
	if err != nil {
		return "", fmt.Errorf("write image index: %w", err)
	}
	return d.Digest, s.changeIndex(ctx, func(all *v1.Index) error {
		addNames(all, d, canonical)
		// They have a name now by way of the index.
		all.Manifests = slices.DeleteFunc(all.Manifests, func(m v1.Descriptor) bool {
			return refName(m) == "" && slices.ContainsFunc(idx.Manifests, func(c v1.Descriptor) bool { return c.Digest == m.Digest })
		})
		return nil
	})
}

func parseTags(names []string) (canonical []string, err error) {
	canonical = make([]string, len(names))
	for i, n := range names {
		if canonical[i], err = parseTag(n); err != nil {
			return nil, err
		}
	}
	return canonical, nil
}
