// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// tools are programs of others, with a storage of their own in dir.
type tools struct {
	t   modetest.T
	dir string
}

func newTools(t modetest.T) *tools {
	t.Helper()
	for _, tool := range []string{"podman", "skopeo", "buildah", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: run make setup", tool)
		}
	}
	// Not t.TempDir: podman makes a name of a directory, and takes no capital letters.
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	conf := "[engine]\nlock_type=\"file\"\n" // none in /dev/shm
	if err := os.WriteFile(filepath.Join(dir, "containers.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tools{t, dir}
}

func (o *tools) path(name string) string { return filepath.Join(o.dir, name) }

// run runs a tool; @ in its arguments stands for the directory.
func (o *tools) run(tool string, args ...string) {
	o.t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "@", o.dir)
	}
	if tool == "podman" || tool == "buildah" {
		args = append([]string{"--root", o.path("storage"), "--runroot", o.path("run"), "--storage-driver", "vfs"}, args...)
	}
	if tool == "podman" {
		args = append([]string{"--tmpdir", o.path("tmp")}, args...)
	}
	cmd := exec.CommandContext(o.t.Context(), tool, args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "HOME="+o.dir, "CONTAINERS_CONF="+o.path("containers.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Errorf("%s %v: %v\n%s", tool, args, err, out)
	}
}

// crane opens what is there with go-containerregistry, as crane does.
func (o *tools) crane(form, file string) {
	o.t.Helper()
	if form == "docker-archive" {
		img, err := tarball.ImageFromPath(file, nil)
		if err == nil {
			err = validate.Image(img)
		}
		if err != nil {
			o.t.Errorf("crane: %s: %v", form, err)
		}
		return
	}
	idx, err := layout.ImageIndexFromPath(file)
	if err == nil {
		err = validate.Index(idx)
	}
	if err != nil {
		o.t.Errorf("crane: %s: %v", form, err)
	}
}

// TestOthersOpen: every form that cpc writes of an image about which something is
// kept is opened by the programs that people use beside it.
func TestOthersOpen(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
		s, o := openStore(t, t.Mapping), newTools(t)
		img := importTar(t, s, "localhost/tiny:v1", entry{name: "./", kind: '5', mode: 0o755}, entry{name: "f", content: "tiny"})
		attach(t, s, img.Digest, "a bill of materials")
		for form, from := range map[Format]string{DockerArchive: "docker-archive:@/docker-archive", OCIArchive: "oci-archive:@/oci-archive", OCIDir: "oci:@/oci-dir"} {
			o.write(s, form)
			at := "@/" + string(form)
			o.run("podman", "load", "-q", "-i", at)
			o.run("skopeo", "inspect", from)
			o.run("buildah", "from", "--name", string(form), from)
			o.run("buildah", "rm", string(form))
			if form != OCIArchive { // which no function of crane's opens
				o.crane(string(form), o.path(string(form)))
			}
		}
		o.run("umoci", "unpack", "--rootless", "--image", "@/oci-dir:localhost/tiny:v1", "@/bundle")
	})
}

func (o *tools) write(s *Store, form Format) {
	o.t.Helper()
	refs := []string{"localhost/tiny:v1"}
	if form == OCIDir {
		if err := s.SaveDir(o.t.Context(), o.path(string(form)), refs, SaveOptions{}); err != nil {
			o.t.Fatal(err)
		}
		return
	}
	f, err := os.Create(o.path(string(form)))
	if err == nil {
		err = errors.Join(s.Save(o.t.Context(), f, refs, SaveOptions{Format: form}), f.Close())
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// TestOpensOthers: every form that the others write is loaded, and can be run.
func TestOpensOthers(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
		s, o := openStore(t, t.Mapping), newTools(t)
		importTar(t, s, "localhost/tiny:v1", entry{name: "./", kind: '5', mode: 0o755}, entry{name: "f", content: "tiny"})
		o.write(s, OCIDir)
		o.run("podman", "load", "-q", "-i", "@/oci-dir")
		o.run("podman", "tag", "localhost@/oci-dir", "localhost/tiny:v1")
		for _, f := range []string{"docker-archive", "oci-archive", "oci-dir"} {
			o.run("podman", "save", "-q", "--format", f, "-o", "@/podman-"+f, "localhost/tiny:v1")
			kind := strings.TrimSuffix(f, "-dir")
			o.run("skopeo", "copy", "-q", "oci:@/oci-dir", kind+":@/skopeo-"+f+":localhost/tiny:v1")
			o.run("buildah", "push", "-q", "localhost/tiny:v1", kind+":@/buildah-"+f+":localhost/tiny:v1")
		}
		o.run("skopeo", "copy", "-q", "--dest-compress-format", "zstd", "docker-archive:@/skopeo-docker-archive", "oci:@/zstd:localhost/tiny:v1")
		o.run("skopeo", "copy", "-q", "oci:@/oci-dir", "oci:@/umoci:tiny")
		o.run("umoci", "config", "--image", "@/umoci:tiny", "--author", "somebody")
		o.craneWrites()
		for _, file := range []string{
			"podman-docker-archive", "podman-oci-archive", "podman-oci-dir", "skopeo-docker-archive", "skopeo-oci-archive", "skopeo-oci-dir",
			"buildah-docker-archive", "buildah-oci-archive", "buildah-oci-dir", "zstd", "umoci", "crane-tar", "crane-layout", "crane-nested", "crane-two",
		} {
			o.load(file)
		}
	})
}

// craneWrites writes what go-containerregistry does, also an index in an index.
func (o *tools) craneWrites() {
	o.t.Helper()
	img := makeImage(o.t, ociKind, HostPlatform().Architecture, tarOf(o.t, entry{name: "f", content: "tiny"}))
	other := makeImage(o.t, ociKind, "s390x", tarOf(o.t, entry{name: "f", content: "other"}))
	tag, err := name.NewTag("localhost/tiny:v1")
	if err == nil {
		err = tarball.WriteToFile(o.path("crane-tar"), tag, img)
	}
	index := func(members ...mutate.IndexAddendum) gcr.ImageIndex {
		return mutate.AppendManifests(empty.Index, members...)
	}
	on := func(img gcr.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: arch}}}
	}
	one := index(on(img, HostPlatform().Architecture))
	both := index(on(img, HostPlatform().Architecture), mutate.IndexAddendum{Add: index(on(other, "s390x"))})
	for file, idx := range map[string]gcr.ImageIndex{
		"crane-layout": index(mutate.IndexAddendum{Add: img}),
		"crane-nested": index(mutate.IndexAddendum{Add: index(mutate.IndexAddendum{Add: one})}),
		"crane-two":    index(mutate.IndexAddendum{Add: both}),
	} {
		if err == nil {
			_, err = layout.Write(o.path(file), idx)
		}
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// load has a new store take what a tool wrote, unpacked as for a run.
func (o *tools) load(file string) {
	o.t.Helper()
	s := otherStore(o.t)
	info, err := os.Stat(o.path(file))
	if err != nil {
		o.t.Error(err)
		return
	}
	var images []*Image
	if info.IsDir() {
		images, err = s.LoadDir(o.t.Context(), o.path(file), LoadOptions{})
	} else {
		var f *os.File
		if f, err = os.Open(o.path(file)); err == nil {
			images, err = s.Load(o.t.Context(), f, LoadOptions{})
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil || len(images) != 1 {
		o.t.Errorf("%s: %d images, %v", file, len(images), err)
		return
	}
	layers, err := s.Layers(o.t.Context(), images[0])
	if err != nil || len(layers) == 0 {
		o.t.Errorf("%s: %v", file, err)
		return
	}
	if data, err := os.ReadFile(filepath.Join(layers[0].Dir, "f")); err != nil || string(data) != "tiny" {
		o.t.Errorf("%s: f is %q, %v", file, data, err)
	}
	if members, err := s.Members(o.t.Context(), images[0].Digest.String()); file == "crane-two" && (err != nil || images[0].Index == "") {
		o.t.Errorf("%s: no index: %v, %v", file, members, err)
	}
}

// TestLoadSaysWhy: what cannot be used is refused with the reason.
func TestLoadSaysWhy(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		importTar(t, s, "a:v1", entry{name: "f", content: "x"})
		dir := filepath.Join(t.TempDir(), "layout")
		if err := s.SaveDir(t.Context(), dir, []string{"a:v1"}, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		index := filepath.Join(dir, "index.json")
		data, err := os.ReadFile(index)
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(data), "sha256:")
		sha512 := string(data[:at]) + "sha512:" + strings.Repeat(string(data[at+7:at+71]), 2) + string(data[at+71:])
		if err := os.WriteFile(index, []byte(sha512), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := otherStore(t).LoadDir(t.Context(), dir, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "only sha256 is supported") {
			t.Errorf("sha512: %v", err)
		}
		deep := index1(makeImage(t, ociKind, "amd64", tarOf(t, entry{name: "f"})))
		for range 6 {
			deep = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: deep})
		}
		for name, c := range map[string]struct {
			idx  gcr.ImageIndex
			says string
		}{
			"xz":   {index1(xzImage(t)), "xz compression is not supported"},
			"deep": {deep, "too many indexes"},
		} {
			at := filepath.Join(t.TempDir(), name)
			if _, err := layout.Write(at, c.idx); err != nil {
				t.Fatal(err)
			}
			if _, err := otherStore(t).LoadDir(t.Context(), at, LoadOptions{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func index1(img gcr.Image) gcr.ImageIndex {
	return mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img})
}

// xzImage has a layer that xz compressed.
func xzImage(t modetest.T) gcr.Image {
	t.Helper()
	l := static.NewLayer([]byte("\xfd7zXZ\x00and so on"), types.OCILayer)
	img, err := mutate.AppendLayers(makeImage(t, ociKind, "amd64"), l)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
