// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func unpackedFile(s *Store, img *Image) string {
	return filepath.Join(s.layerDir(img.Config.RootFS.DiffIDs[0]), "f")
}

// Check finds damage of every kind, says so only, and repairs it when asked.
func TestCheck(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(t modetest.T, s *Store, img *Image)
		says  string
		left  int // images
	}{
		"layer's bit": {func(t modetest.T, s *Store, img *Image) { mustWrite(t, s.blobPath(img.Manifest.Layers[0].Digest), "x") }, "corrupt", 1},
		"layer gone": {func(t modetest.T, s *Store, img *Image) {
			mustRemove(t, s.blobPath(img.Manifest.Layers[0].Digest))
		}, "the file is missing", 1},
		"manifest gone":  {func(t modetest.T, s *Store, img *Image) { mustRemove(t, s.blobPath(img.Digest)) }, "missing", 1},
		"config spoilt":  {func(t modetest.T, s *Store, img *Image) { mustWrite(t, s.blobPath(img.ConfigDigest), "{}") }, "corrupt", 1},
		"index spoilt":   {func(t modetest.T, s *Store, _ *Image) { mustWrite(t, s.path("oci/index.json"), "{") }, "image index", 2},
		"index gone":     {func(t modetest.T, s *Store, _ *Image) { mustRemove(t, s.path("oci/index.json")) }, "image index", 2},
		"blob of nobody": {func(t modetest.T, s *Store, _ *Image) { mustWrite(t, s.blobPath(digest.FromString("x")), "x") }, "nothing refers to it", 2},
		"layer of nobody": {func(t modetest.T, s *Store, _ *Image) {
			mustMkdir(t, s.layerDir(digest.FromString("y")))
		}, "nothing refers to it", 2},
		"unpacked file gone": {func(t modetest.T, s *Store, img *Image) { mustRemove(t, unpackedFile(s, img)) }, `"f": missing`, 2},
		"unpacked file spoilt": {func(t modetest.T, s *Store, img *Image) {
			mustWrite(t, unpackedFile(s, img), strings.Repeat("y", 1000))
		}, "another content", 2},
		"unpacked file shorter": {func(t modetest.T, s *Store, img *Image) { mustWrite(t, unpackedFile(s, img), "x") }, "has 1 bytes, not 1000", 2},
		"unpacked type": {func(t modetest.T, s *Store, img *Image) {
			mustRemove(t, unpackedFile(s, img))
			mustMkdir(t, unpackedFile(s, img))
		}, "is of type d", 2},
		"half removed": {func(t modetest.T, s *Store, _ *Image) { mustMkdir(t, s.layerDir(digest.FromString("y"))+".rm") }, "half removed", 2},
		"cache entry": {func(t modetest.T, s *Store, _ *Image) {
			mustWrite(t, s.cachePath(digest.FromString("z")), "nonsense")
		}, "build cache", 2},
	} {
		t.Run(what, func(t *testing.T) {
			single(t, func(t modetest.T, s *Store) {
				importTar(t, s, "good", entry{name: "g", content: "good"})
				img := importTar(t, s, "bad", entry{name: "f", content: strings.Repeat("x", 1000)})
				if found, err := s.Check(t.Context(), false); err != nil || len(found) != 0 {
					t.Fatalf("of a sound store: %v %v", found, err)
				}
				c.spoil(t, s, img)
				before := files(t, s)
				found, _ := s.Check(t.Context(), false)
				if !strings.Contains(describe(found), c.says) {
					t.Errorf("found %+v, want %q", found, c.says)
				}
				if after := files(t, s); strings.Join(after, " ") != strings.Join(before, " ") {
					t.Errorf("looking changed %v to %v", before, after)
				}
				for _, f := range found {
					if f.Leftover != strings.Contains(what, "nobody") && f.Leftover != (what == "half removed") {
						t.Errorf("left over, %v: %+v", f.Leftover, f)
					}
				}
				if _, err := s.Check(t.Context(), true); err != nil {
					t.Fatalf("repair: %v", err)
				}
				if strings.HasPrefix(what, "unpacked") {
					if data, err := os.ReadFile(unpackedFile(s, img)); err != nil || string(data) != strings.Repeat("x", 1000) {
						t.Errorf("after the repair it holds %q, %v", data, err)
					}
				}
				if found, err := s.Check(t.Context(), false); err != nil || len(found) != 0 {
					t.Errorf("after the repair: %v %v", found, err)
				}
				if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != c.left {
					t.Errorf("%d images are left, %v; want %d", len(imgs), err, c.left)
				}
				layersOf(t, s, importTar(t, s, "bad", entry{name: "f", content: strings.Repeat("x", 1000)}))
			})
		})
	}
}

func describe(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.Object + ": " + f.Problem + "\n")
	}
	return b.String()
}

func mustRemove(tb testing.TB, path string) {
	tb.Helper()
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
}

func mustMkdir(tb testing.TB, path string) {
	tb.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		tb.Fatal(err)
	}
}
