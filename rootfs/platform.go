// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
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
		return p, fmt.Errorf("platform %q: must be OS/ARCH[/VARIANT], as linux/amd64 or linux/arm/v7", s)
	}
	return platforms.Normalize(p), nil
}

// FormatPlatform is the inverse: os/arch[/variant].
func FormatPlatform(p v1.Platform) string { return platforms.Format(platforms.Normalize(p)) }

// wanted returns the images that are meant by an entry and a platform: all that
// are here if it is nil, and else the one, in place of its index.
func wanted(from store.Reader, d v1.Descriptor, p *v1.Platform) (entry v1.Descriptor, members []v1.Descriptor, err error) {
	if p == nil && store.IsIndex(d) {
		members, err = store.Members(from, d)
		return d, members, err
	}
	if p != nil {
		of := d
		if d, err = choose(from, d, p); err != nil {
			return d, nil, err
		}
		img, err := store.LoadImage(from, d)
		if err != nil {
			return d, nil, err
		}
		if store.IsIndex(of) {
			img.Index = of.Digest
		}
		if !imageMatches(img, *p) {
			return d, nil, fmt.Errorf("%w (%s): it is for %s", ErrNoPlatform, FormatPlatform(*p), FormatPlatform(img.Platform()))
		}
	}
	return d, []v1.Descriptor{d}, nil
}

// choose returns the manifest that an entry stands for on a platform; without
// one on the host's, or else the first there is.
func choose(from store.Reader, d v1.Descriptor, want *v1.Platform) (v1.Descriptor, error) {
	if !store.IsIndex(d) {
		return d, nil
	}
	here, err := store.Members(from, d)
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
	if !imageMatches(img, p) {
		return nil, fmt.Errorf("%w: %s for platform %s: it is for %s", ErrNotFound, ref, FormatPlatform(p), FormatPlatform(img.Platform()))
	}
	return img, nil
}

// Members returns the images of all platforms that ref names.
func (s *Store) Members(ctx context.Context, ref string) ([]*Image, error) {
	c, err := s.catalog()
	if err != nil {
		return nil, err
	}
	d, err := c.resolve(ref)
	if err != nil {
		return nil, err
	}
	all := []v1.Descriptor{d}
	if store.IsIndex(d) {
		if all, err = store.Members(s, d); err != nil {
			return nil, err
		}
	}
	var out []*Image
	for _, m := range all {
		img, err := store.LoadImage(s, m)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
		img.Names = store.NamesOf(c.idx, d.Digest)
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
	b, err := s.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	idx := store.NewIndex()
	for _, img := range images {
		size, err := s.BlobSize(img.Digest)
		if err != nil {
			return "", fmt.Errorf("image index: %w", err)
		}
		p := img.Platform()
		mediaType := img.Manifest.MediaType
		if mediaType == "" {
			mediaType = v1.MediaTypeImageManifest
		}
		idx.Manifests = append(idx.Manifests, v1.Descriptor{MediaType: mediaType, Digest: img.Digest, Size: size, Platform: &p})
	}
	d, err := b.JSON(idx, v1.MediaTypeImageIndex)
	if err != nil {
		return "", fmt.Errorf("write image index: %w", err)
	}
	return d.Digest, b.Commit(ctx, func(all *v1.Index) error {
		store.AddNames(all, d, canonical)
		// They have a name now by way of the index.
		all.Manifests = slices.DeleteFunc(all.Manifests, func(m v1.Descriptor) bool {
			return store.RefName(m) == "" && slices.ContainsFunc(idx.Manifests, func(c v1.Descriptor) bool { return c.Digest == m.Digest })
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
