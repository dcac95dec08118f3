// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// TestKeepsEverything sends a random tree of files through every way of copying
// one, each behind another, and compares all that is known of each file.
func TestKeepsEverything(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		for range 2 {
			seed := rand.Uint64()
			g := &treeMaker{r: rand.New(rand.NewPCG(seed, 0))}
			data := g.tar(t)
			want, ownerless := listTar(t, data, true), listTar(t, data, false)
			same := func(way string, img *rootfs.Image, owners bool) []byte {
				t.Helper()
				var out bytes.Buffer
				if err := ExportTar(t.Context(), img, &out, b.exporting(t)); err != nil {
					t.Fatal(way, err)
				}
				want := want
				if !owners {
					want = ownerless
				}
				difference(t, fmt.Sprintf("%s (seed %d)", way, seed), want, listTar(t, out.Bytes(), owners))
				return out.Bytes()
			}
			added := b.made(t, b.tarContext(t, data), "FROM scratch\nADD tree.tar /\n", "tree")
			exported := same("ADD of a tar, a layer, output as a tar", added, true)
			same("ADD of what was exported", b.made(t, b.tarContext(t, exported), "FROM scratch\nADD tree.tar /\n"), true)
			same("COPY --from an image", b.made(t, t.TempDir(), "FROM scratch\nCOPY --from=tree / /\n"), true)

			local := filepath.Join(t.TempDir(), "out")
			if err := ExportDir(t.Context(), added, local, b.exporting(t)); err != nil {
				t.Fatal(err)
			}
			same("output as a directory, a context", b.made(t, local, "FROM scratch\nCOPY . /\n"), false)
			source := &ContextSource{Store: b.store, Stdin: bytes.NewReader(exported)}
			got, err := source.Get(t.Context(), "-")
			if err != nil {
				t.Fatal(err)
			}
			same("a context that is a tar", b.made(t, got.Dir, "FROM scratch\nCOPY . /\n"), false)
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		}
		b.nothingLeft(t)
	})
}

// made builds what a Dockerfile says.
func (b *bed) made(t *testing.T, context, dockerfile string, tags ...string) *rootfs.Image {
	t.Helper()
	o := b.options(context, t.Output())
	o.Dockerfile, o.Stdin, o.Tags = "-", strings.NewReader(dockerfile), tags
	img, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func (b *bed) tarContext(t *testing.T, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "tree.tar"), data, 0o644)
	return dir
}

func (b *bed) exporting(t *testing.T) ExportOptions {
	t.Helper()
	return ExportOptions{Store: b.store, Mapping: b.mapping, Warn: func(msg string) {
		if !strings.Contains(msg, "set-id bits") {
			t.Error(msg)
		}
	}}
}

// treeMaker makes up files.
type treeMaker struct {
	r    *rand.Rand
	n    int
	link string // a file that may get another name
}

// aCapability is cap_net_raw=ep, revision 2.
const aCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// tar is a tree of some 30 files, every kind and every property among them.
func (g *treeMaker) tar(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	put := func(h *tar.Header) {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = strings.Repeat(h.Name, g.r.IntN(300))
		}
		h.Size = int64(len(content))
		_, err := tw.Write(nil)
		if err = errors.Join(err, tw.WriteHeader(h)); err == nil {
			_, err = io.WriteString(tw, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{""}
	for range 30 {
		h := g.header(path.Join(dirs[g.r.IntN(len(dirs))], g.name()))
		put(h)
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h.Name)
		}
	}
	// What chance may leave out.
	put(&tar.Header{Name: "capable", Typeflag: tar.TypeReg, Mode: 0o4755, Format: tar.FormatPAX, ModTime: time.Unix(9, 5), PAXRecords: map[string]string{"SCHILY.xattr.security.capability": aCapability}})
	put(&tar.Header{Name: "sgid", Typeflag: tar.TypeDir, Mode: 0o3775, Gid: 77, Format: tar.FormatPAX, ModTime: time.Unix(11, 0)})
	put(&tar.Header{Name: "sgid/twice", Typeflag: tar.TypeLink, Linkname: "capable", Format: tar.FormatPAX})
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (g *treeMaker) name() string {
	g.n++
	odd := []string{"a", "über ", ".wh.", "-x", "\n", strings.Repeat("long", 30)}
	return fmt.Sprintf("%s%d", odd[g.r.IntN(len(odd))], g.n)
}

func (g *treeMaker) header(name string) *tar.Header {
	h := &tar.Header{
		Name: name, Format: tar.FormatPAX, Mode: int64(g.r.IntN(0o10000)), Uid: g.r.IntN(60000), Gid: g.r.IntN(60000),
		ModTime: time.Unix(int64(g.r.IntN(2e9)), int64(g.r.IntN(1e9))), PAXRecords: map[string]string{},
		Typeflag: []byte{tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeFifo, tar.TypeLink}[g.r.IntN(6)],
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		h.Linkname, h.Mode = []string{"a", "/etc/passwd", "../../x", "\xff"}[g.r.IntN(4)], 0o777
	case tar.TypeLink:
		if g.link == "" {
			h.Typeflag = tar.TypeReg
			break
		}
		h.Linkname = g.link
	case tar.TypeDir, tar.TypeReg:
		for range g.r.IntN(3) {
			h.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.x%d", g.r.IntN(4))] = "v\n" + string(rune('a'+g.r.IntN(26)))
		}
	}
	if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeFifo {
		g.link = name
	}
	return h
}

// listTar is all that a tar says of each file. A hard link is shown as the file it
// is a name of, with the first of its names in the order of names.
func listTar(t *testing.T, data []byte, owners bool) map[string]string {
	t.Helper()
	out, files := map[string]string{}, map[string][]string{}
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(h.Name)
		if name == "." {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			first := path.Clean(h.Linkname)
			for f, names := range files {
				if slices.Contains(names, first) {
					first = f
				}
			}
			files[first] = append(files[first], name)
			continue
		}
		files[name] = []string{name}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if !owners {
			h.Uid, h.Gid = 0, 0
		}
		var attrs []string
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if strings.HasPrefix(key, "SCHILY.") {
				attrs = append(attrs, fmt.Sprintf("%s=%q", key, h.PAXRecords[key]))
			}
		}
		out[name] = fmt.Sprintf("%c %o %d:%d %v %q %q %v", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.UnixNano(), h.Linkname, content, attrs)
	}
	for first, names := range files {
		about := out[first]
		for _, name := range names {
			out[name] = about
			if len(names) > 1 {
				out[name] += " names " + strings.Join(slices.Sorted(slices.Values(names)), " ")
			}
		}
	}
	return out
}

func difference(t *testing.T, way string, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %q:\n got %s\nwant %s", way, name, cmp.Or(got[name], "nothing"), want[name])
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s: %q comes from nowhere: %s", way, name, got[name])
		}
	}
}

// TestOutputDirectoryIsClosed: programs that would run with the caller's rights
// are in a directory that others cannot open.
func TestOutputDirectoryIsClosed(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		for mode, want := range map[string]os.FileMode{"755": 0o755, "4755": 0o700} {
			img := b.made(t, b.tarContext(t, nil), "FROM scratch\nCOPY --chmod="+mode+" tree.tar /f\n")
			dir := filepath.Join(t.TempDir(), "out")
			if err := ExportDir(t.Context(), img, dir, b.exporting(t)); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
				t.Errorf("a file of mode %s: the directory is %v, %v; want %v", mode, info.Mode(), err, want)
			}
		}
	})
}
