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

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// An image may serve another platform than it is for: that of an older variant,
// and one for 386 on amd64. Which of several is taken does not depend on their
// order in a list.

// newer is the rank of a variant that nobody asked for: it may need instructions
// that the processor does not have.
const newer = 1000

// fit ranks an image for have where want is wanted, the best with 0; ok is false
// if it does not serve there.
func fit(want, have v1.Platform) (rank int, ok bool) {
	asked := want.Variant
	want, have = platforms.Normalize(want), platforms.Normalize(have)
	if want.OS != have.OS {
		return 0, false
	}
	if platforms.OnlyStrict(want).Match(have) {
		return 0, true
	}
	sameArchitecture := want.Architecture == have.Architecture
	if platforms.Only(want).Match(have) {
		rank = newer / 2 // of another architecture
		if sameArchitecture {
			rank = 100
		}
		return rank - variantNumber(have.Variant), true
	}
	if sameArchitecture && asked == "" {
		return newer + variantNumber(have.Variant), true
	}
	return 0, false
}

// variantNumber orders variants: v6 is 60, v8.1 is 81.
func variantNumber(variant string) int {
	var major, minor int
	_, _ = fmt.Sscanf(variant+".0", "v%d.%d", &major, &minor) // what is no number counts as 0
	return min(max(0, major), 9)*10 + min(max(0, minor), 9)
}

// serves reports whether an image for have runs where want is wanted.
func serves(want, have v1.Platform) bool {
	_, ok := fit(want, have)
	return ok
}

// imageServes reports whether an image runs where want is wanted.
func imageServes(img *Image, want v1.Platform) bool {
	have := platforms.Normalize(img.Config.Platform)
	if img.Config.Variant == "" && have.Architecture == platforms.Normalize(want).Architecture {
		have.Variant = want.Variant // many builders leave it to the list that the image is in
	}
	return serves(want, have)
}

// imageMatches is serves for an image that may stand alone under its name, where
// another architecture is rather the trace of an earlier --platform.
func imageMatches(img *Image, want v1.Platform) bool {
	return imageServes(img, want) && (img.Index != "" || img.Platform().Architecture == platforms.Normalize(want).Architecture)
}

// best returns the entries that serve a platform, the best first. Those that do
// not say what they are for come last.
func best(all []v1.Descriptor, want v1.Platform) []v1.Descriptor {
	rank := func(d v1.Descriptor) (int, bool) {
		if d.Platform == nil {
			return 2 * newer, true
		}
		return fit(want, *d.Platform)
	}
	var out []v1.Descriptor
	for _, d := range all {
		if _, ok := rank(d); ok {
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b v1.Descriptor) int {
		x, _ := rank(a)
		y, _ := rank(b)
		return cmp.Compare(x, y)
	})
	return out
}

// maxNested bounds how many lists are read to find one image.
const maxNested = 8

// imageOf is the image that a reference stands for on the platform that is wanted.
func (p *puller) imageOf(ctx context.Context, ref name.Reference, desc *remote.Descriptor) (gcr.Image, error) {
	if !desc.MediaType.IsIndex() {
		return desc.Image()
	}
	want := HostPlatform()
	if p.o.Platform != nil {
		want = *p.o.Platform
	}
	return p.ofList(ctx, ref, desc.Manifest, want, new(int))
}

// remote are the options of package remote for where p pulls from.
func (p *puller) remote(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(p.from.http)}
}

// ofList finds the image for a platform in a list, which may have lists in it.
func (p *puller) ofList(ctx context.Context, ref name.Reference, raw []byte, want v1.Platform, lists *int) (gcr.Image, error) {
	if *lists++; *lists > maxNested {
		return nil, fmt.Errorf("%w: more than %d lists in one another", ErrNoImage, maxNested)
	}
	idx, err := store.ParseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: a list of images that cannot be read: %w", ErrNoImage, err)
	}
	images := slices.DeleteFunc(slices.Clone(idx.Manifests), func(d v1.Descriptor) bool {
		return !store.IsImage(d) || d.Platform != nil && d.Platform.Architecture == "unknown"
	})
	for _, d := range best(images, want) {
		img, err := p.member(ctx, ref, d, want, lists)
		if errors.Is(err, ErrNoPlatform) {
			continue // a list, for others
		}
		return img, err
	}
	return nil, noPlatform(images, want)
}

// member gets an entry of a list.
func (p *puller) member(ctx context.Context, ref name.Reference, d v1.Descriptor, want v1.Platform, lists *int) (gcr.Image, error) {
	desc, err := remote.Get(ref.Context().Digest(d.Digest.String()), p.remote(ctx)...)
	if err != nil {
		return nil, ofImage(err, "manifest "+d.Digest.String())
	}
	if err := settleType(desc); err != nil {
		return nil, err
	}
	if desc.MediaType.IsIndex() {
		return p.ofList(ctx, ref, desc.Manifest, want, lists)
	}
	return desc.Image()
}

// noPlatform is the error for a list without the platform.
func noPlatform(images []v1.Descriptor, want v1.Platform) error {
	var have []string
	for _, d := range images {
		if d.Platform != nil {
			have = append(have, oneWord(FormatPlatform(*d.Platform)))
		}
	}
	if len(have) == 0 {
		return fmt.Errorf("%w: its list names no platform", ErrNoImage)
	}
	return fmt.Errorf("%w (%s): it has %s", ErrNoPlatform, FormatPlatform(want), strings.Join(have, ", "))
}
