// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// single runs a test in the cheapest mode, for what no mode makes different.
func single(t *testing.T, f func(t modetest.T, s *Store)) {
	t.Helper()
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) { f(t, openStore(t, t.Mapping)) })
}

// files returns the names below the store's directories that collect things.
func files(tb testing.TB, s *Store) []string {
	tb.Helper()
	var out []string
	for _, dir := range []string{"oci/blobs/sha256", "layers/" + s.Variant(), "tmp", "scratch"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}

func find(tb testing.TB, s *Store, ref string) *Image {
	tb.Helper()
	img, err := s.Image(tb.Context(), ref)
	if err != nil {
		tb.Fatal(err)
	}
	return img
}

func TestImageLookup(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "debian:x", entry{name: "f"})
		id := img.ConfigDigest.Encoded()
		for _, ref := range []string{
			"debian:x", "docker.io/library/debian:x", "index.docker.io/library/debian:x", id, id[:4], "sha256:" + id,
			"sha256:" + id[:2], "debian@" + img.Digest.String(), "debian:x@" + img.Digest.String(), img.Digest.Encoded()[:12],
		} {
			if got := find(t, s, ref); got.Digest != img.Digest {
				t.Errorf("%s: %s, want %s", ref, got.Digest, img.Digest)
			}
		}
		for _, ref := range []string{"debian", "debian:y", "other@" + img.Digest.String(), strings.Repeat("0", 12)} {
			if _, err := s.Image(t.Context(), ref); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", ref, err)
			}
		}
		for _, ref := range []string{"", "Debian", "a b", "../x", ":tag", strings.Repeat("x", 600)} {
			if _, err := s.Image(t.Context(), ref); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v, want a complaint about the name", ref, err)
			}
		}
	})
}

func TestTagAndRemove(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		empty := files(t, s)
		one := importTar(t, s, "one", entry{name: "f", content: "1"})
		if err := s.Tag(t.Context(), "one", "two:tag"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), one.ConfigDigest.String()); err == nil {
			t.Error("remove by id with two names: no error")
		}
		got, err := s.Remove(t.Context(), "one")
		if err != nil || !slices.Equal(got, []string{"Untagged: one:latest"}) {
			t.Errorf("remove of one name: %v %v", got, err)
		}
		// The name moves on; the image stays, nameless, until removed by id.
		importTar(t, s, "two:tag", entry{name: "f", content: "2"})
		if img := find(t, s, one.ConfigDigest.String()); len(img.Names) != 0 {
			t.Errorf("names %v, want none", img.Names)
		}
		if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 2 || imgs[1].Digest != one.Digest {
			t.Errorf("images: %v %v, want two, the older last", imgs, err)
		}
		got, err = s.Remove(t.Context(), one.ConfigDigest.Encoded()[:12])
		if err != nil || !slices.Equal(got, []string{"Deleted: " + one.ConfigDigest.String()}) {
			t.Errorf("remove by id: %v %v", got, err)
		}
		if got, err = s.Remove(t.Context(), "two:tag"); err != nil || len(got) != 2 {
			t.Errorf("remove of the last name: %v %v", got, err)
		}
		if left := files(t, s); !slices.Equal(left, empty) {
			t.Errorf("left: %v", left)
		}
		if _, err := s.Remove(t.Context(), "two:tag"); !errors.Is(err, ErrNotFound) {
			t.Errorf("remove what is not there: %v", err)
		}
	})
}

func TestRemoveKeepsWhatOthersNeed(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		base := importTar(t, s, "base", entry{name: "f", content: "1"})
		layersOf(t, s, base)
		upper := s.path("scratch/up")
		if err := os.Mkdir(upper, 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, filepath.Join(upper, "g"), "2")
		l, err := s.CommitUpper(t.Context(), upper)
		if err != nil {
			t.Fatal(err)
		}
		key := digest.FromString("step")
		if err := s.CachePut(key, CacheEntry{Layer: l}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutImage(t.Context(), base.Config, append(base.LayerDescriptors(), l), []string{"child"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil { // CommitUpper kept collections away
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), "base"); err != nil {
			t.Fatal(err)
		}
		layersOf(t, s, find(t, s, "child"))
		if _, err := s.Remove(t.Context(), "child"); err != nil {
			t.Fatal(err)
		}
		if e, ok, err := s.CacheGet(key); !ok || err != nil || e.Layer.DiffID != l.DiffID {
			t.Errorf("cache: %v %v %v", e, ok, err)
		}
		if left := files(t, s); len(left) != 2 {
			t.Errorf("left: %v, want blob and directory of the cached layer", left)
		}
		if err := errors.Join(s.PruneCache(0), s.Collect(t.Context())); err != nil {
			t.Error(err)
		}
		if left := files(t, s); len(left) != 0 {
			t.Errorf("left: %v, want nothing", left)
		}
		if _, ok, err := s.CacheGet(key); ok || err != nil {
			t.Errorf("cache after all: %v %v", ok, err)
		}
	})
}

func TestImageInUseStays(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "used", entry{name: "f"})
		other, err := Open(s.Options()) // as another process has it
		if err != nil {
			t.Fatal(err)
		}
		release, err := s.Use(img)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Remove(t.Context(), "used"); !errors.Is(err, ErrInUse) {
			t.Errorf("remove: %v, want ErrInUse", err)
		}
		layersOf(t, s, find(t, s, "used"))
		release()
		if _, err := other.Remove(t.Context(), "used"); err != nil {
			t.Errorf("remove after release: %v", err)
		}
		if _, err := s.Use(img); !errors.Is(err, ErrNotFound) {
			t.Errorf("use after removal: %v", err)
		}
		release()
	})
}

func TestNothingIsCollectedWhileHeld(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		importTar(t, s, "x", entry{name: "f"})
		release, err := s.Hold()
		if err != nil {
			t.Fatal(err)
		}
		before := files(t, s)
		if _, err := s.Remove(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if after := files(t, s); !slices.Equal(before, after) {
			t.Errorf("held: %v, want %v", after, before)
		}
		release()
		if err := s.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		if after := files(t, s); len(after) != 0 {
			t.Errorf("left: %v", after)
		}
	})
}

func TestCorruptBlobs(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "bad", entry{name: "f", content: strings.Repeat("content ", 1000)})
		importTar(t, s, "good", entry{name: "g"})
		l := img.LayerDescriptors()[0]
		damage := map[string]func(data []byte) []byte{
			"flipped":   func(d []byte) []byte { d[len(d)/2] ^= 1; return d },
			"truncated": func(d []byte) []byte { return d[:len(d)/2] },
			"longer":    func(d []byte) []byte { return append(d, 0) },
			"missing":   nil,
		}
		for name, hurt := range damage {
			for _, d := range []digest.Digest{l.Descriptor.Digest, img.ConfigDigest, img.Digest} {
				sound, err := os.ReadFile(s.blobPath(d))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(s.blobPath(d)); err != nil {
					t.Fatal(err)
				}
				if hurt != nil {
					mustWrite(t, s.blobPath(d), string(hurt(bytes.Clone(sound))))
				}
				if err := os.RemoveAll(s.layerDir(l.DiffID)); err != nil {
					t.Fatal(err)
				}
				got, err := s.Image(t.Context(), "bad")
				if err == nil {
					_, err = s.Layers(t.Context(), got)
				}
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), d.Encoded()) {
					t.Errorf("%s: %v, want ErrCorrupt that names %s", name, err, d)
				}
				if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) != 0 {
					t.Errorf("%s: left in tmp: %v %v", name, left, err)
				}
				if imgs, err := s.Images(t.Context()); d != l.Descriptor.Digest && (len(imgs) != 1 || !errors.Is(err, ErrCorrupt)) {
					t.Errorf("%s: images: %v %v, want the good one and the error", name, imgs, err)
				}
				mustWrite(t, s.blobPath(d), string(sound))
			}
		}
		layersOf(t, s, find(t, s, "bad"))
	})
}

func TestRemoveDamagedImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "bad", entry{name: "f"})
		mustWrite(t, s.blobPath(img.Digest), "x")
		if _, err := s.Remove(t.Context(), "bad"); err != nil {
			t.Error(err)
		}
		if left := files(t, s); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestImportLeavesNothingBehind(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		sound := tarOf(t, entry{name: "a", content: "a"}, entry{name: "b", content: strings.Repeat("b", 9000)})
		for name, in := range map[string]io.Reader{
			"empty": strings.NewReader(""), "text": strings.NewReader("hello\n"), "cut": bytes.NewReader(sound[:3000]),
			"cut at an entry": bytes.NewReader(sound[:1536]), "hostile": bytes.NewReader(tarOf(t, entry{name: "../x"})),
			"gzip of nothing": strings.NewReader("\x1f\x8b\x08"), "xz": strings.NewReader("\xfd7zXZ\x00more"),
			"zstd cut": strings.NewReader("\x28\xb5\x2f\xfd\x04"), "reader fails": io.MultiReader(bytes.NewReader(sound[:2000]), failing{}),
		} {
			if _, err := s.Import(t.Context(), in, "x", ImportOptions{}); err == nil {
				t.Errorf("%s: no error", name)
			} else {
				t.Log(err)
			}
			if left := files(t, s); len(left) != 0 {
				t.Errorf("%s: left: %v", name, left)
			}
		}
		if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 0 {
			t.Errorf("images: %v %v", imgs, err)
		}
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the other end is gone") }

// Open finishes what a killed process has left, and leaves alone what a
// living one works on.
func TestOpenSweeps(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		dead := func(e os.DirEntry) bool {
			return slices.Contains([]string{"wdead", "wdead.lock", "wdying.rm", "worphan.lock"}, e.Name())
		}
		if err := os.MkdirAll(s.path("tmp/wdead/layer/sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, s.path("tmp/wdead.lock"), "")
		if err := os.MkdirAll(s.path("tmp/wdying.rm/0/a"), 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, s.path("tmp/worphan.lock"), "")
		alive, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(s.Options()); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(s.path("tmp"))
		if err != nil || len(entries) != 2 || slices.ContainsFunc(entries, dead) {
			t.Errorf("tmp holds %v %v, want the living workspace and its lock", entries, err)
		}
		if err := alive.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestNamesThatCannotBeGiven(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "x", entry{name: "f"})
		name := "x@" + img.Digest.String()
		if err := s.Tag(t.Context(), "x", name); err == nil {
			t.Error("tag: no error")
		}
		if _, err := s.Import(t.Context(), strings.NewReader(""), name, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "digest") {
			t.Errorf("import: %v", err)
		}
		if _, err := s.PutImage(t.Context(), img.Config, img.LayerDescriptors(), []string{"B A D"}); err == nil {
			t.Error("put: no error")
		}
	})
}

func TestStoreIsPrivate(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		if err := os.Chmod(s.Options().Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, s.path("oci/.index.json.123"), "half")
		again, err := Open(s.Options())
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(s.Options().Dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("mode %v %v, want 0700", st.Mode(), err)
		}
		importTar(t, again, "x", entry{name: "f"})
		if _, err := os.Lstat(s.path("oci/.index.json.123")); !os.IsNotExist(err) {
			t.Errorf("half an index is still there: %v", err)
		}
		for _, id := range []string{"", ".", "..", "a/b", "../x", "x.rm", strings.Repeat("x", 129)} {
			if _, err := s.NewScratch(id); err == nil || s.RemoveScratch(id) == nil {
				t.Errorf("scratch id %q: no error", id)
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "x", entry{name: "f", content: "x"})
		if err := os.RemoveAll(s.layerDir(img.Config.RootFS.DiffIDs[0])); err != nil {
			t.Fatal(err)
		}
		data := tarOf(t, entry{name: "y", content: "y"})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				s, err := Open(s.Options())
				if err != nil {
					t.Error(err)
					return
				}
				name := string(rune('a' + i))
				if _, err := s.Layers(t.Context(), img); err != nil {
					t.Error(err)
				}
				if _, err := s.Import(t.Context(), bytes.NewReader(data), name, ImportOptions{}); err != nil {
					t.Error(err)
				}
				if err := s.Tag(t.Context(), "x", "tag-"+name); err != nil {
					t.Error(err)
				}
				if _, err := s.Remove(t.Context(), name); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := find(t, s, "x"); len(got.Names) != 9 {
			t.Errorf("names %v, want 9", got.Names)
		}
	})
}

// TestUsageOfOthers: what the store does not make itself, but holds.
func TestUsageOfOthers(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		for _, dir := range []string{s.path("scratch", "x"), s.path("disks"), s.path("mounts", s.Variant(), "y")} {
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<16), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		u, err := s.Usage(t.Context())
		if err != nil || u.Scratch < 2<<16 || u.CacheMounts < 1<<16 || u.CacheMounts >= 2<<16 {
			t.Errorf("%+v, %v", u, err)
		}
	})
}
