// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// ofPlatform is "arch/variant" of linux, or "-" for none.
func ofPlatform(s string) *v1.Platform {
	if s == "-" {
		return nil
	}
	arch, variant, _ := strings.Cut(s, "/")
	return &v1.Platform{OS: "linux", Architecture: arch, Variant: variant}
}

// Of several that fit the best is taken, in whatever order they are listed.
func TestBest(t *testing.T) {
	for want, c := range map[string]struct{ best, others string }{
		"amd64":    {"amd64 amd64/v2 amd64/v3 amd64/v4 -", "arm64 arm/v7 s390x"},
		"amd64/v3": {"amd64/v3 amd64/v2 amd64 386", "amd64/v4 arm64"},
		"386":      {"386", "amd64 arm"},
		"arm":      {"arm/v7 arm/v6 arm/v5 arm/v8", "arm64 amd64"},
		"arm/v7":   {"arm arm/v6 arm/v5", "arm/v8 arm64"},
		"arm/v6":   {"arm/v6 arm/v5", "arm/v7 arm arm64"},
		"arm64":    {"arm64/v8 arm/v8 arm/v7 arm/v6", "amd64 s390x"},
		"arm64/v9": {"arm64/v9 arm64/v8.5 arm64 arm", "amd64"},
		"riscv64":  {"riscv64 -", "amd64 arm64"},
	} {
		t.Run(want, func(t *testing.T) {
			order := strings.Fields(c.best)
			for backwards := range 2 {
				var all []v1.Descriptor
				for i, p := range append(slices.Clone(order), strings.Fields(c.others)...) {
					d := v1.Descriptor{Platform: ofPlatform(p), Size: int64(i)}
					if all = append(all, d); backwards == 1 {
						all = append([]v1.Descriptor{d}, all[:len(all)-1]...)
					}
				}
				var got []string
				for _, d := range best(all, *ofPlatform(want)) {
					got = append(got, append(slices.Clone(order), strings.Fields(c.others)...)[d.Size])
				}
				if !slices.Equal(got, order) {
					t.Errorf("order %d: %v, want %v", backwards, got, order)
				}
			}
		})
	}
	if got := best([]v1.Descriptor{{Platform: ofPlatform("386")}}, *ofPlatform("amd64")); len(got) != 1 {
		t.Error("386 does not serve amd64")
	}
}

func TestVariantNumber(t *testing.T) {
	for variant, want := range map[string]int{"": 0, "v6": 60, "v8.1": 81, "v9": 90, "v8.99": 89, "v-3": 0, "v99999999999999999999": 0, "x": 0, "v2..": 20} {
		if got := variantNumber(variant); got != want {
			t.Errorf("%q: %d, want %d", variant, got, want)
		}
	}
}

// A pull takes the best of a list, and of a list in a list; what it took is then
// found for that platform.
func TestPullBest(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		host := serve(t, nil)
		image := func(arch string) mutate.IndexAddendum {
			p := ofPlatform(arch)
			img := makeImage(t, ociKind, p.Architecture, tarOf(t, entry{name: strings.ReplaceAll(arch, "/", "-")}))
			return mutate.IndexAddendum{Add: img, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}}}
		}
		for i, c := range []struct{ list, want, gets string }{
			{"amd64/v3 386 amd64", "amd64", "amd64"},
			{"386 arm64", "amd64", "386"},
			{"arm/v5 arm/v6 arm64", "arm/v7", "arm/v6"},
			{"arm/v8 arm/v6 arm", "arm", "arm"},
		} {
			idx := gcr.ImageIndex(empty.Index)
			var want digest.Digest
			for arch := range strings.FieldsSeq(c.list) {
				a := image(arch)
				if d, err := a.Add.(gcr.Image).Digest(); err != nil { //nolint:forcetypeassert // made above
					t.Fatal(err)
				} else if arch == c.gets {
					want = digest.Digest(d.String())
				}
				idx = mutate.AppendManifests(idx, a)
			}
			nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: mutate.AppendManifests(empty.Index, image("s390x"))}, mutate.IndexAddendum{Add: idx})
			for repository, list := range map[string]gcr.ImageIndex{"/flat": idx, "/nested": nested} {
				ref := host + repository + ":v" + string(rune('0'+i))
				push(t, ref, func(r name.Reference) error { return remote.WriteIndex(r, list) })
				s := otherStore(t)
				got, err := s.Pull(t.Context(), ref, PullOptions{Platform: ofPlatform(c.want)})
				if err != nil || got.Digest != want {
					t.Errorf("%s of %s, %s: %v %v, want %s", c.want, c.list, repository, got, err, want)
					continue
				}
				if _, err := s.Image(t.Context(), ref); err != nil {
					t.Error(err)
				}
				_, err = s.ImageFor(t.Context(), ref, *ofPlatform(c.want))
				if alone := c.gets == "386"; (err != nil) != alone {
					t.Errorf("%s of %s afterwards: %v", c.want, c.list, err)
				}
			}
		}
	})
}
