// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func save(t modetest.T, s *Store, f Format, refs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Save(t.Context(), &out, refs, SaveOptions{Format: f, Referrers: true}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func load(t modetest.T, s *Store, data []byte) []*Image {
	t.Helper()
	images, err := s.Load(t.Context(), bytes.NewReader(data), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// otherStore is an empty store beside the test's.
func otherStore(t modetest.T) *Store { return openStore(t, t.Mapping) }

func TestSaveAndLoad(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		one := importTar(t, s, "one:v1", entry{name: "f", content: "one"})
		two := importTar(t, s, "two:v2", entry{name: "f", content: "two"})
		attach(t, s, one.Digest, "about one")
		if err := s.Tag(t.Context(), "one:v1", "one:v2"); err != nil {
			t.Fatal(err)
		}
		for _, f := range []Format{DockerArchive, OCIArchive} {
			data := save(t, s, f, "one", "two:v2")
			if !bytes.Equal(data, save(t, s, f, "one", "two:v2")) {
				t.Errorf("%s: not the same bytes twice", f)
			}
			for how, packed := range map[string][]byte{"plain": data, "gzip": gzipped(t, data), "zstd": zstded(t, data)} {
				o := otherStore(t)
				load(t, o, packed)
				for name, want := range map[string]*Image{"one:v1": one, "one:v2": one, "two:v2": two} {
					got := find(t, o, name)
					if got.Digest != want.Digest || got.ConfigDigest != want.ConfigDigest {
						t.Errorf("%s %s: %s is %s, want %s", f, how, name, got.Digest, want.Digest)
					}
					layersOf(t, o, got)
				}
				if n := len(artifacts(t, o, one.Digest, testArtifact)); n != 1 {
					t.Errorf("%s: %d artifacts came along, want 1", f, n)
				}
				if found, err := o.Check(t.Context(), false); err != nil || len(found) != 0 {
					t.Errorf("%s: check afterwards: %v %v", f, found, err)
				}
			}
		}
		// By id there is no name.
		o := otherStore(t)
		if got := load(t, o, save(t, s, DockerArchive, one.ConfigDigest.Encoded()[:12])); len(got) != 1 || len(got[0].Names) != 0 {
			t.Errorf("by id: %+v", got)
		}
	})
}

func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func zstded(tb testing.TB, data []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// An archive as docker wrote it before version 25: layers as plain tars, one of
// them a link, and no OCI layout.
func TestLoadOldDockerArchive(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		layer := tarOf(t, entry{name: "f", content: "x"})
		diff := "sha256:" + sum(layer)
		config := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + diff + `","` + diff + `"]}}`
		manifest := `[{"Config":"c.json","RepoTags":["old:v1","old:v2"],"Layers":["a/layer.tar","b/layer.tar"]}]`
		archive := func(layer []byte, manifest string) []byte {
			return tarOf(t, entry{name: "manifest.json", content: manifest}, entry{name: "a/layer.tar", content: string(layer)},
				entry{name: "b/layer.tar", kind: '2', link: "../a/layer.tar"}, entry{name: "c.json", content: config})
		}
		for _, l := range [][]byte{layer, gzipped(t, layer), zstded(t, layer)} {
			o := otherStore(t)
			got := load(t, o, archive(l, manifest))
			if len(got) != 1 || got[0].ConfigDigest.Encoded() != sum([]byte(config)) || len(got[0].Names) != 2 {
				t.Fatalf("loaded %+v", got)
			}
			mnt := mountImage(t, o, "x", MountOptions{Layers: layersOf(t, o, got[0])})
			if data, err := os.ReadFile(filepath.Join(mnt.Root, "f")); err != nil || string(data) != "x" {
				t.Errorf("f holds %q, %v", data, err)
			}
			unmount(t, mnt)
		}
		for what, bad := range map[string][]byte{
			"another layer": archive(tarOf(t, entry{name: "g"}), manifest),
			"layer missing": archive(layer, strings.Replace(manifest, "b/layer", "c/layer", 1)),
			"no config":     archive(layer, strings.Replace(manifest, "c.json", "d.json", 1)),
			"bad name":      archive(layer, strings.Replace(manifest, "old:v2", "../x", 1)),
			"layer count":   archive(layer, strings.Replace(manifest, `,"b/layer.tar"`, "", 1)),
			"loop":          tarOf(t, entry{name: "manifest.json", kind: '2', link: "manifest.json"}),
			"file system":   tarOf(t, entry{name: "etc/passwd", content: "root"}),
			"no tar":        []byte("hello"),
			"empty":         nil,
			"cut short":     archive(layer, manifest)[:2000],
		} {
			o := otherStore(t)
			_, err := o.Load(t.Context(), bytes.NewReader(bad), LoadOptions{})
			if err == nil {
				t.Errorf("%s: loaded", what)
			}
			t.Logf("%s: %v", what, err)
			if imgs, err := o.Images(t.Context()); err != nil || len(imgs) != 0 {
				t.Errorf("%s: images afterwards: %v %v", what, imgs, err)
			}
			if entries, err := os.ReadDir(o.path("tmp")); err != nil || len(entries) != 0 {
				t.Errorf("%s: left: %v %v", what, entries, err)
			}
		}
	})
}

// A blob of an archive that is not what its name says is not taken.
func TestLoadCorrupt(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "one:v1", entry{name: "f", content: strings.Repeat("one ", 5000)})
		data := save(t, s, OCIArchive, "one:v1")
		layer, err := os.ReadFile(s.blobPath(img.Manifest.Layers[0].Digest))
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(data, layer)
		data[at+len(layer)/2] ^= 1
		o := otherStore(t)
		if _, err := o.Load(t.Context(), bytes.NewReader(data), LoadOptions{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a flipped bit: %v, want ErrCorrupt", err)
		}
		if imgs, err := o.Images(t.Context()); err != nil || len(imgs) != 0 {
			t.Errorf("images afterwards: %v %v", imgs, err)
		}
	})
}

// Other programs read what is saved here, and the other way round.
func TestSaveForOthers(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
		s := openStore(t, t.Mapping)
		img := importTar(t, s, "docker.io/library/one:v1", entry{name: "f", content: "one", mode: 0o640})
		dir := t.TempDir()
		run := func(program string, args ...string) string {
			t.Helper()
			cmd := exec.Command(program, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		for _, f := range []Format{DockerArchive, OCIArchive} {
			file := filepath.Join(dir, string(f)+".tar")
			if err := os.WriteFile(file, save(t, s, f, "one:v1"), 0o600); err != nil {
				t.Fatal(err)
			}
			var info struct{ Layers []string }
			if err := json.Unmarshal([]byte(run("skopeo", "inspect", string(f)+":"+file)), &info); err != nil || len(info.Layers) != 1 {
				t.Errorf("skopeo of %s: %+v %v", f, info, err)
			}
			back := string(f) + "-back.tar"
			for _, to := range []string{"docker-archive:" + back + ":two:v2", "oci-archive:" + "oci-" + back + ":docker.io/library/two:v2"} {
				run("skopeo", "copy", string(f)+":"+file, to)
				data, err := os.ReadFile(filepath.Join(dir, strings.Split(to, ":")[1]))
				if err != nil {
					t.Fatal(err)
				}
				o := otherStore(t)
				load(t, o, data)
				if got := find(t, o, "two:v2"); !slices.Equal(got.Config.RootFS.DiffIDs, img.Config.RootFS.DiffIDs) {
					t.Errorf("%s to %s: layers %s, want %s", f, to, got.Config.RootFS.DiffIDs, img.Config.RootFS.DiffIDs)
				}
			}
		}
		layout := filepath.Join(dir, "layout")
		if err := s.SaveDir(t.Context(), layout, []string{"one:v1"}, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		run("skopeo", "copy", "oci:"+layout+":docker.io/library/one:v1", "oci:"+layout+":plain")
		run("umoci", "unpack", "--image", layout+":plain", "bundle")
		if data, err := os.ReadFile(filepath.Join(dir, "bundle/rootfs/f")); err != nil || string(data) != "one" {
			t.Errorf("umoci unpacked %q, %v", data, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bundle/rootfs/g"), []byte("g"), 0o600); err != nil {
			t.Fatal(err)
		}
		run("umoci", "repack", "--image", layout+":plain", "bundle")
		o := otherStore(t)
		got, err := o.LoadDir(t.Context(), layout, LoadOptions{})
		if err != nil || len(got) != 2 {
			t.Fatalf("umoci's layout: %v %v", got, err)
		}
		for _, i := range got {
			layersOf(t, o, i)
		}
	})
}

// podman and buildah, where they are installed, read what is saved here, and
// the other way round.
func TestSaveForPodman(t *testing.T) {
	for program, words := range map[string]struct{ read, write []string }{
		"podman":  {[]string{"load", "-i", "mine.tar"}, []string{"save", "--format", "oci-archive", "-o", "theirs.tar", "docker.io/library/one:v1"}},
		"buildah": {[]string{"pull", "-q", "docker-archive:mine.tar"}, []string{"push", "ID", "oci-archive:theirs.tar:docker.io/library/one:v1"}},
	} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(program + " is not installed")
			}
			modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
				s, dir := openStore(t, t.Mapping), t.TempDir()
				img := importTar(t, s, "one:v1", entry{name: "f", content: "one"})
				mustWrite(t, filepath.Join(dir, "mine.tar"), string(save(t, s, DockerArchive, "one:v1")))
				id := "" // what the first prints last; buildah does not take the name over
				for _, args := range [][]string{words.read, words.write} {
					args = slices.Clone(args)
					for i := range args {
						if args[i] == "ID" {
							args[i] = id
						}
					}
					cmd := exec.CommandContext(t.Context(), program, append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)...)
					cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s: %v\n%s", program, err, out)
					}
					words := strings.Fields(string(out))
					id = append(words, "")[max(0, len(words)-1)]
				}
				data, err := os.ReadFile(filepath.Join(dir, "theirs.tar"))
				if err != nil {
					t.Fatal(err)
				}
				o := otherStore(t)
				load(t, o, data)
				if got := find(t, o, "one:v1"); !slices.Equal(got.Config.RootFS.DiffIDs, img.Config.RootFS.DiffIDs) {
					t.Errorf("layers %s, want %s", got.Config.RootFS.DiffIDs, img.Config.RootFS.DiffIDs)
				}
			})
		})
	}
}

func TestIndexOfPlatforms(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := importTar(t, s, "host:v1", entry{name: "f", content: "host"})
		cfg := host.Config
		cfg.Architecture = "s390x"
		other, err := s.PutImage(t.Context(), cfg, host.LayerDescriptors(), nil)
		if err != nil {
			t.Fatal(err)
		}
		idx, err := s.PutIndex(t.Context(), []*Image{other, host}, []string{"multi:v1"})
		if err != nil {
			t.Fatal(err)
		}
		if got := find(t, s, "multi:v1"); got.Digest != host.Digest || got.Index != idx {
			t.Errorf("multi:v1 is %s of %s, want %s of %s", got.Digest, got.Index, host.Digest, idx)
		}
		got, err := s.ImageFor(t.Context(), "multi:v1", v1.Platform{OS: "linux", Architecture: "s390x"})
		if err != nil || got.Digest != other.Digest {
			t.Errorf("for s390x: %+v %v", got, err)
		}
		for _, name := range []string{"multi:v1", "host:v1"} {
			if _, err := s.ImageFor(t.Context(), name, v1.Platform{OS: "linux", Architecture: "riscv64"}); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s for riscv64: %v", name, err)
			}
		}
		if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 2 {
			t.Errorf("%d images, %v; want host and multi", len(imgs), err)
		}
		o := otherStore(t)
		load(t, o, save(t, s, OCIArchive, "multi:v1"))
		if all, err := o.Members(t.Context(), "multi:v1"); err != nil || len(all) != 2 || all[0].Digest != other.Digest {
			t.Errorf("members after load: %v %v", all, err)
		}
		if got := find(t, o, "multi:v1"); got.Index != idx {
			t.Errorf("index after load: %s, want %s", got.Index, idx)
		}
		release, err := o.Use(find(t, o, "multi:v1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Remove(t.Context(), "multi:v1"); !errors.Is(err, ErrInUse) {
			t.Errorf("removed while in use: %v", err)
		}
		if got, err := o.RemoveForced(t.Context(), "multi:v1"); err != nil || len(got) != 1 {
			t.Errorf("name taken off: %v %v", got, err)
		}
		release()
		if got, _, err := o.Prune(t.Context(), false, nil); err != nil || len(got) != 1 {
			t.Errorf("pruned: %v %v", got, err)
		}
		if left := files(t, o); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// One platform of what an archive holds: of an index, of several images, and with
// what is kept about it.
func TestLoadPlatform(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		mine, other := twoPlatforms(t, s)
		if _, err := s.PutIndex(t.Context(), []*Image{mine, other}, []string{"multi:v1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutAnnotated(t.Context(), other.Config, other.LayerDescriptors(), []string{"docker.io/library/other:v1"}, nil); err != nil {
			t.Fatal(err)
		}
		for _, img := range []*Image{mine, other} {
			if _, err := s.Attach(t.Context(), img.Digest, "application/x-test", []byte(img.Digest), nil); err != nil {
				t.Fatal(err)
			}
		}
		for what, c := range map[string]struct {
			format       Format
			refs         []string
			names, count int
		}{
			"index":            {OCIArchive, []string{"multi:v1"}, 1, 1},
			"several":          {OCIArchive, []string{"mine", "other:v1"}, 1, 1},
			"docker's several": {DockerArchive, []string{"mine", "other:v1"}, 1, 1},
		} {
			archive := save(t, s, c.format, c.refs...)
			o := otherStore(t)
			got, err := o.Load(t.Context(), bytes.NewReader(archive), LoadOptions{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}})
			if err != nil || len(got) != c.count || got[0].Config.Architecture != "s390x" || len(got[0].Names) != c.names {
				t.Errorf("%s: %+v, %v", what, got, err)
			}
			if imgs, err := o.Images(t.Context()); err != nil || len(imgs) != 1 || imgs[0].Config.Architecture != "s390x" {
				t.Errorf("%s: in the store are %+v, %v", what, imgs, err)
			}
			if about, err := o.Artifacts(t.Context(), mine.Digest, ""); err != nil || len(about) != 0 {
				t.Errorf("%s: what was not wanted left %v, %v", what, about, err)
			}
			o = otherStore(t)
			_, err = o.Load(t.Context(), bytes.NewReader(archive), LoadOptions{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}})
			if !errors.Is(err, ErrNoPlatform) {
				t.Errorf("%s: for riscv64: %v", what, err)
			}
			if left := files(t, o); len(left) != 0 {
				t.Errorf("%s: left %v", what, left)
			}
		}
	})
}

// sum is the hex digest of data.
func sum(data []byte) string { return digest.FromBytes(data).Encoded() }

// By default an OCI layout of one image has one entry, as other programs want it.
func TestSaveOneEntry(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "one:v1", entry{name: "f", content: "one"})
		attach(t, s, img.Digest, "about one")
		for referrers, want := range map[bool]int{false: 1, true: 2} {
			dir := filepath.Join(t.TempDir(), "layout")
			if err := s.SaveDir(t.Context(), dir, []string{"one:v1"}, SaveOptions{Referrers: referrers}); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			var idx v1.Index
			if err := json.Unmarshal(data, &idx); err != nil || len(idx.Manifests) != want {
				t.Errorf("referrers %v: %d entries, %v; want %d", referrers, len(idx.Manifests), err, want)
			}
		}
	})
}
