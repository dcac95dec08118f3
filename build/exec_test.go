// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/internal/golden"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// bed is a store with the image "base" in it, for one test process.
type bed struct {
	store   *rootfs.Store
	dir     string
	mapping idmap.Mapping
	runner  *chrootRunner
}

// baseDockerfile makes the image that testdata/build builds on.
const baseDockerfile = `FROM scratch
COPY helper /bin/sh
COPY <<passwd <<group /etc/
root:x:0:0::/root:/bin/sh
app:x:1000:1001::/app:/bin/sh
passwd
root:x:0:
grp:x:1002:
group
CMD ["/bin/sh"]
ENV FOO=base
`

func newBed(t *testing.T, m idmap.Mapping) *bed {
	t.Helper()
	b := &bed{mapping: m, dir: t.TempDir(), runner: &chrootRunner{}}
	t.Cleanup(func() { removeAll(t, b.dir) })
	store, err := rootfs.Open(rootfs.Options{Dir: filepath.Join(b.dir, "store"), Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	b.store = store
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// helper is the path of the static binary; the outer process builds it once.
func helper(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("CPC_BUILD_TEST_HELPER"); p != "" {
		return p
	}
	t.Fatal("the helper is not built")
	return ""
}

// buildHelper is called outside of the modes, where the Go tool works.
func buildHelper(t *testing.T) {
	t.Helper()
	if modetest.Inside() {
		return
	}
	dir := t.TempDir()
	// Other users have to come by.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "helper"), "./testdata/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the helper: %v\n%s", err, out)
	}
	// The other users may not be able to read the source tree.
	data := filepath.Join(dir, "testdata")
	if err := os.CopyFS(data, os.DirFS("testdata/build")); err != nil {
		t.Fatal(err)
	}
	if golden.Updating() {
		abs, err := filepath.Abs("testdata/build")
		if err != nil {
			t.Fatal(err)
		}
		data = abs
		t.Setenv(golden.EnvUpdate, "1")
	}
	t.Setenv("CPC_BUILD_TEST_DATA", data)
	t.Setenv("CPC_BUILD_TEST_HELPER", filepath.Join(dir, "helper"))
}

// context makes a context directory with the helper in it.
func (b *bed) context(t *testing.T, files ...txtar.File) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(helper(t))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "helper"), data, 0o755)
	for _, f := range files {
		switch f.Name {
		case "want", "flags", "setup", "progress":
		default:
			writeFile(t, filepath.Join(dir, f.Name), f.Data, 0o644)
		}
	}
	return dir
}

func writeFile(t *testing.T, p string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
}

// setup does what txtar cannot hold: one command a line.
func setup(t *testing.T, dir, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		p := filepath.Join(dir, w[1])
		var err error
		switch w[0] {
		case "mkdir":
			err = os.MkdirAll(p, 0o755)
		case "symlink":
			err = os.Symlink(w[2], p)
		case "hardlink":
			err = os.Link(filepath.Join(dir, w[2]), p)
		case "chmod":
			var bits uint64
			bits, err = strconv.ParseUint(w[2], 8, 32)
			err = errors.Join(err, unix.Chmod(p, uint32(bits)))
		case "fifo":
			err = unix.Mkfifo(p, 0o600)
		case "socket":
			var l net.Listener
			if l, err = net.Listen("unix", p); err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
		case "tar":
			writeArchive(t, p, w[2:])
		case "txz":
			plain := strings.TrimSuffix(p, ".xz")
			writeArchive(t, plain+".new", w[2:])
			var packed []byte
			if packed, err = exec.Command("xz", "--stdout", plain+".new").Output(); err == nil {
				err = errors.Join(os.WriteFile(p, packed, 0o644), os.Remove(plain+".new"))
			}
		case "xz":
			err = os.WriteFile(p, []byte("\xfd7zXZ\x00rest"), 0o644)
		default:
			t.Fatalf("setup %s: not known", w[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writeArchive makes a tar of NAME=CONTENT, NAME->TARGET and NAME/ entries,
// compressed if p ends in gz. Files belong to 7:8.
func writeArchive(t *testing.T, p string, entries []string) {
	t.Helper()
	var buf bytes.Buffer
	var out io.WriteCloser = nopCloser{&buf}
	if strings.HasSuffix(p, "gz") {
		out = gzip.NewWriter(&buf)
	}
	tw := tar.NewWriter(out)
	for _, e := range entries {
		h := &tar.Header{Uid: 7, Gid: 8, Mode: 0o640, ModTime: time.Unix(1e9, 0)}
		content := ""
		if name, target, ok := strings.Cut(e, "->"); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if name, text, ok := strings.Cut(e, "="); ok {
			h.Name, content = name, text
		} else {
			h.Name, h.Typeflag, h.Mode = e, tar.TypeDir, 0o750
		}
		h.Size = int64(len(content))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), out.Close(), os.WriteFile(p, buf.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// options are those of a build in the bed.
func (b *bed) options(dir string, progress io.Writer) Options {
	return Options{
		ContextDir: dir, Store: b.store, Mapping: b.mapping, Runner: b.runner, Args: map[string]string{},
		Progress: PlainProgress(progress), Egress: granted{"127.0.0.1"},
	}
}

// granted are rules for addresses, each "address" or "address:port".
type granted []string

func (granted) Refuses(string, uint16) string { return "" }
func (granted) Denies(netip.AddrPort) string  { return "" }
func (g granted) Grants(_ string, to netip.AddrPort, _ address.Block) bool {
	return slices.Contains(g, to.Addr().String()) || slices.Contains(g, to.String())
}

func (b *bed) makeBase(t *testing.T) {
	t.Helper()
	dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(baseDockerfile)})
	o := b.options(dir, t.Output())
	o.Tags = []string{"base"}
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// TestBuild builds what is in testdata/build and compares image or error with
// the files; -update writes them, from what a user with a range of ids gets.
func TestBuild(t *testing.T) {
	buildHelper(t)
	modes := []idmap.Mode{idmap.Root, idmap.Mapped}
	if golden.Updating() {
		modes = modes[:1]
	}
	modetest.Some(t, modes, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		files, err := filepath.Glob(filepath.Join(os.Getenv("CPC_BUILD_TEST_DATA"), "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatal("no test data", err)
		}
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { b.corpus(t, file) })
		}
	})
}

func (b *bed) corpus(t *testing.T, file string) {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := b.context(t, ar.Files...)
	setup(t, dir, golden.Section(ar, "setup"))
	var out bytes.Buffer
	o := b.options(dir, &out)
	flags(&o, golden.Section(ar, "flags"))
	img, err := Build(t.Context(), o)
	var text strings.Builder
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "WARNING") {
			text.WriteString(line)
		}
	}
	if err != nil {
		fmt.Fprintf(&text, "error: %v\n", err)
	} else {
		b.describe(t, &text, img)
	}
	got := strings.ReplaceAll(text.String(), dir, "CONTEXT")
	golden.Want(t, file, ar, strings.ReplaceAll(got, "("+string(b.mapping.Mode)+" mode)", "(MODE)"))
	b.nothingLeft(t)
}

// flags reads the section of that name into o.
func flags(o *Options, text string) {
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "target":
			o.Target = rest
		case "file":
			o.Dockerfile = filepath.Join(o.ContextDir, rest)
		case "stdin":
			o.Dockerfile, o.Stdin = "-", strings.NewReader(strings.ReplaceAll(rest, `\n`, "\n"))
		case "arg":
			name, value, _ := strings.Cut(rest, "=")
			o.Args[name] = value
		case "secret":
			name, value, _ := strings.Cut(rest, "=")
			o.Secrets = map[string]Secret{name: SecretValue(value)}
		case "context":
			name, value, _ := strings.Cut(rest, "=")
			c := dockerfile.Context{Dir: filepath.Join(o.ContextDir, value)}
			if image, ok := strings.CutPrefix(value, "image:"); ok {
				c = dockerfile.Context{Image: image}
			}
			if o.Contexts == nil {
				o.Contexts = map[string]dockerfile.Context{}
			}
			o.Contexts[name] = c
		case "tag":
			o.Tags = append(o.Tags, rest)
		}
	}
}

// nothingLeft checks that no scratch directory or mount stays.
func (b *bed) nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := b.store.Scratches(); err != nil || len(left) > 0 {
		t.Errorf("scratch directories left: %v %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(b.dir)) {
		t.Errorf("mounts left: %v\n%s", err, mounts)
	}
}

// describe writes down the configuration, the history, and what the layers
// hold beyond those of the image base.
func (b *bed) describe(t *testing.T, out *strings.Builder, img *rootfs.Image) {
	t.Helper()
	base, err := b.store.Image(t.Context(), "base")
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(img.Config.Config)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(out, "config %s\n", config)
	for i, h := range img.Config.History {
		if i < len(base.Config.History) && h.CreatedBy == base.Config.History[i].CreatedBy {
			continue
		}
		kind := "layer"
		if h.EmptyLayer {
			kind = "empty"
		}
		fmt.Fprintf(out, "%s: %s\n", kind, strings.ReplaceAll(h.CreatedBy, "\n", `\n`))
	}
	layers := 0
	for _, h := range img.Config.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	if layers != len(img.Manifest.Layers) || layers != len(img.Config.RootFS.DiffIDs) {
		t.Errorf("history has %d layers, the manifest %d, rootfs %d", layers, len(img.Manifest.Layers), len(img.Config.RootFS.DiffIDs))
	}
	for i, l := range img.Manifest.Layers {
		if !slices.Contains(base.Config.RootFS.DiffIDs, img.Config.RootFS.DiffIDs[i]) {
			b.listLayer(t, out, l.Digest, img.Config.RootFS.DiffIDs[i])
		}
	}
}

func (b *bed) listLayer(t *testing.T, out *strings.Builder, blob, diffID digest.Digest) {
	t.Helper()
	f, err := os.Open(filepath.Join(b.dir, "store/oci/blobs/sha256", blob.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(data); got != diffID {
		t.Errorf("layer %s has diff id %s, not %s", blob, got, diffID)
	}
	out.WriteString("--- layer\n")
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := tr.Next()
		if err != nil {
			return
		}
		fmt.Fprintf(out, "%c %04o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
		switch {
		case h.Linkname != "":
			out.WriteString(" -> " + h.Linkname)
		case h.Size > 0 && h.Size < 300:
			content, _ := io.ReadAll(tr)
			fmt.Fprintf(out, " %q", content)
		}
		out.WriteString("\n")
	}
}
