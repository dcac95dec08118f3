// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// box is a directory that stands for a sandbox's root, beside a secret.
func box(t *testing.T) (root *os.File, dir, outside string) {
	t.Helper()
	top := t.TempDir()
	dir, outside = filepath.Join(top, "root"), filepath.Join(top, "outside")
	for _, d := range []string{dir, outside, filepath.Join(dir, "srv/deep"), filepath.Join(dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // a test's
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(outside, "f"), "secret")
	write(t, filepath.Join(dir, "srv/f"), "old")
	for name, to := range map[string]string{
		"abs": "/data", "up": "../../../data", "out": outside, "outfile": outside + "/f", "loop": "loop", "file": "srv/f", "dangling": "data/new",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir, outside
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// list is all that is below a directory: directories end with a slash, and files have
// their content.
func list(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type().IsRegular():
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel += "=" + string(text)
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRules: docker's, of what becomes of a source at a destination.
func TestRules(t *testing.T) {
	from := t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "d/sub"), 0o755); err != nil { //nolint:gosec // a test's
		t.Fatal(err)
	}
	write(t, filepath.Join(from, "d/sub/x"), "x")
	write(t, filepath.Join(from, "f"), "new")
	for name, to := range map[string]string{"ld": "d", "lf": "f"} {
		if err := os.Symlink(to, filepath.Join(from, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		source, to string
		follow     bool
		want       string // a file that is then there, with its content; or part of an error
	}{
		{"f", "data/g", false, "data/g=new"},
		{"f", "/data/g", false, "data/g=new"},
		{"f", "data", false, "data/f=new"},
		{"f", "data/", false, "data/f=new"},
		{"f", "/", false, "f=new"},
		{"f", "srv/f", false, "srv/f=new"},
		{"f", "srv/f/", false, "not a directory"},
		{"f", "none/", false, "the destination directory must exist"},
		{"f", "none/g", false, "no such file or directory"},
		{"f", "srv/f/g", false, "not a directory"},
		{"f", "abs", false, "data/f=new"},
		{"f", "up/g", false, "data/g=new"},
		{"f", "file", false, "srv/f=new"},
		{"f", "dangling", false, "data/new=new"},
		{"f", "loop", false, "too many levels of symbolic links"},
		{"f", "out", false, "no such file or directory"},
		{"f/", "data", false, "not a directory"},
		{"none", "data", false, "no such file or directory"},
		{"lf", "data/g", true, "data/g=new"},
		{"lf", "data", true, "data/lf=new"},
		{"lf", "data", false, "data/lf"},
		{"d", "data", false, "data/d/sub/x=x"},
		{"d/", "data", false, "data/d/sub/x=x"},
		{"d", "data/new", false, "data/new/sub/x=x"},
		{"d", "data/new/", false, "data/new/sub/x=x"},
		{"d/.", "data", false, "data/sub/x=x"},
		{"d/.", "data/new", false, "data/new/sub/x=x"},
		{"d", "srv/f", false, "cannot copy a directory to a file"},
		{"d/.", "srv/f", false, "cannot copy a directory to a file"},
		{"d", "none/new", false, "no such file or directory"},
		{"ld", "data", true, "data/ld/sub/x=x"},
		{"ld/", "data", false, "data/ld/sub/x=x"},
		{"ld", "data/l", false, "data/l"},
	} {
		root, dir, outside := box(t)
		local := Local{Path: from + "/" + c.source, Follow: c.follow}
		source, err := local.Source()
		var tarball bytes.Buffer
		if err == nil {
			err = local.Pack(t.Context(), &tarball)
		}
		if err == nil {
			err = tree{root}.receive(t.Context(), &tarball, &Order{Path: c.to, Source: source}, layer.Into{Own: true})
		}
		if got := list(t, dir); err == nil && !slices.Contains(got, c.want) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v; want %s; there is %q", c.source, c.to, err, c.want, got)
		}
		if got := list(t, outside); !slices.Equal(got, []string{"f=secret"}) {
			t.Errorf("%s to %s: outside is %q", c.source, c.to, got)
		}
	}
}

// TestOut: what a sandbox's links lead to is in the sandbox.
func TestOut(t *testing.T) {
	for _, c := range []struct {
		path   string
		follow bool
		want   string
	}{
		{"srv/f", false, "f=old"},
		{"/srv", false, "srv/f=old"},
		{"/srv/.", false, "f=old"},
		{"../../srv/f", false, "f=old"},
		{"file", true, "file=old"},
		{"file", false, "file"},
		{"abs", true, "abs/"},
		{"up/.", false, ""},
		{"out", false, "out"},
		{"out", true, "no such file or directory"},
		{"outfile", true, "no such file or directory"},
		{"out/f", false, "no such file or directory"},
		{"loop", true, "too many levels of symbolic links"},
	} {
		root, _, _ := box(t)
		var sent bytes.Buffer
		to := t.TempDir()
		err := tree{root}.send(t.Context(), &sent, &Order{Path: c.path, Follow: c.follow}, layer.PackOptions{Live: true, KeepIDs: true})
		if err == nil {
			err = Local{Path: to}.Unpack(t.Context(), &sent, c.path)
		}
		if got := list(t, to); err == nil && !slices.Contains(append(got, ""), c.want) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s; there is %q", c.path, err, c.want, got)
		}
	}
}

// TestHostile: a stream that was made by an attacker stays where it was asked for.
func TestHostile(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o4755} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, c := range map[string]struct {
		found   string
		entries []tar.Header
	}{
		"up":               {`{"dir":true,"base":"d"}`, []tar.Header{file("../f")}},
		"by a link":        {`{"dir":true,"base":"d"}`, []tar.Header{link("l", "../../outside"), file("l/f")}},
		"root a link":      {`{"dir":true,"base":"d"}`, []tar.Header{link(".", "../outside"), file("f")}},
		"a base with ..":   {`{"dir":true,"base":".."}`, []tar.Header{file("f")}},
		"a base with /":    {`{"dir":false,"base":"../outside/f"}`, []tar.Header{file("f")}},
		"file, then link":  {`{"dir":false,"base":"d"}`, []tar.Header{link("d", "../outside/f"), file("d")}},
		"a hard link":      {`{"dir":true,"base":"d"}`, []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../outside/f"}, file("h")}},
		"an endless line":  {strings.Repeat("x", maxFound+1), nil},
		"no line":          {``, nil},
		"another document": {`[]`, nil},
	} {
		_, dir, outside := box(t)
		var stream bytes.Buffer
		stream.WriteString(c.found + "\n")
		tw := tar.NewWriter(&stream)
		for _, h := range c.entries {
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		err := Local{Path: filepath.Join(dir, "data")}.Unpack(t.Context(), &stream, "/d")
		if got := list(t, outside); !slices.Equal(got, []string{"f=secret"}) {
			t.Errorf("%s: outside is %q (%v)", name, got, err)
		}
		for _, f := range list(t, dir) {
			if st, err := os.Lstat(filepath.Join(dir, strings.TrimRight(f, "="))); err == nil && st.Mode()&os.ModeSetuid != 0 {
				t.Errorf("%s: %s has a set-user-id bit", name, f)
			}
		}
	}
}

// TestRace: a sandbox that exchanges a directory for a link, over and over, never has
// its helper read or write what is outside.
func TestRace(t *testing.T) {
	root, dir, outside := box(t)
	write(t, filepath.Join(dir, "srv/deep/f"), "inside")
	if err := os.Symlink("../../outside", filepath.Join(dir, "srv/evil")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(int(root.Fd()), "srv/deep", int(root.Fd()), "srv/evil", unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	reached := false // the control: who resolves names by itself is led out
	for i := 0; i < 300 || !reached && i < 100_000; i++ {
		if text, err := os.ReadFile(filepath.Join(dir, "srv/deep/f")); err == nil && string(text) == "secret" {
			reached = true
		}
		if i >= 300 {
			continue
		}
		for _, path := range []string{"srv/deep/f", "srv/deep", "srv"} {
			var sent bytes.Buffer
			_ = tree{root}.send(t.Context(), &sent, &Order{Path: path, Follow: true}, layer.PackOptions{Live: true, KeepIDs: true})
			if bytes.Contains(sent.Bytes(), []byte("secret")) {
				t.Fatalf("%s: the secret came out", path)
			}
		}
		var tarball bytes.Buffer
		tw := tar.NewWriter(&tarball)
		if err := errors.Join(tw.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 6, Mode: 0o600}), writeAll(tw, "inside"), tw.Close()); err != nil {
			t.Fatal(err)
		}
		_ = tree{root}.receive(t.Context(), &tarball, &Order{Path: "srv/deep", Source: Source{Kind: File, Base: "f"}}, layer.Into{Own: true})
	}
	if !reached {
		t.Error("the attack never worked: it shows nothing")
	}
	if got := list(t, outside); !slices.Equal(got, []string{"f=secret"}) {
		t.Errorf("outside is %q", got)
	}
}

func writeAll(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

func TestSplit(t *testing.T) {
	for path, want := range map[string][2]string{
		"a": {".", "a"}, "a/": {".", "a"}, "/a": {"/", "a"}, "/a/b//": {"/a/", "b"}, "/": {"/", ""}, "": {".", ""},
		".": {".", ""}, "a/.": {"a/.", ""}, "a/..": {"a/..", ""}, "..": {"..", ""}, "/./": {"/./", ""},
	} {
		if dir, base, _ := split(path); dir != want[0] || base != want[1] {
			t.Errorf("%q: %q and %q, want %q", path, dir, base, want)
		}
	}
	for path, want := range map[string]bool{"a/.": true, "a": false, "a/": false, "/": true, ".": true, "a/..": false, "a/./": true} {
		if IsContents(path) != want {
			t.Errorf("%q: contents %v", path, !want)
		}
	}
}

// FuzzFound: a line that is read and a line that is left out are judged alike, in whatever
// parts they come, and what follows is passed on as it is.
func FuzzFound(f *testing.F) {
	f.Add([]byte(`{"dir":true,"base":"d"}`+"\n"), uint8(3))
	f.Add([]byte(`{"base":"f"}`+"\n\x00tar\n"), uint8(1))
	f.Add([]byte(`{"base":"../x"}`+"\n"), uint8(5))
	f.Add([]byte(`{"base":"f"}`), uint8(200))
	f.Add(bytes.Repeat([]byte{' '}, maxFound+1), uint8(255))
	f.Fuzz(func(t *testing.T, raw []byte, part uint8) {
		in := bufio.NewReader(bytes.NewReader(raw))
		found, err := ReadFound(in)
		if err == nil && (found.Base == "" || strings.ContainsAny(found.Base, "/\x00") || found.Base == "..") {
			t.Errorf("%q is taken for a name", found.Base)
		}
		var out bytes.Buffer
		tarErr := Tar(&out, func(w io.Writer) error {
			for p := range slices.Chunk(raw, int(part)+1) {
				if n, err := w.Write(p); err != nil || n != len(p) {
					return errors.Join(io.ErrShortWrite, err)
				}
			}
			return nil
		})
		if (err == nil) != (tarErr == nil) {
			t.Errorf("read: %v, left out: %v", err, tarErr)
		}
		if rest, _ := io.ReadAll(in); err == nil && !bytes.Equal(rest, out.Bytes()) {
			t.Errorf("%q is passed on as %q", rest, out.Bytes())
		}
	})
}
