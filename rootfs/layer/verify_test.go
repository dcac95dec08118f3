// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// A layer is whole whatever its entries have done to each other, and is not once
// anything of it is changed.
func TestVerify(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("unpacking needs uid 0")
	}
	data := verifyTar(t, []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/sh", Typeflag: tar.TypeReg, Size: 3, Mode: 0o755},
		{Name: "bin/bash", Typeflag: tar.TypeLink, Linkname: "bin/sh"},
		{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "bin"},
		{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/bin"},
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600},
		{Name: "twice", Typeflag: tar.TypeReg, Size: 5, Mode: 0o600},
		{Name: "twice", Typeflag: tar.TypeReg, Size: 2, Mode: 0o600},
		{Name: "dir/below", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600},
		{Name: "dir", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600}, // takes dir/below away
		{Name: "going/file", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600},
		{Name: ".wh.going", Typeflag: tar.TypeReg},
		{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "dev/gone", Typeflag: tar.TypeChar},
	})
	verify := func(spoil func(dir string) error) []string {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "l")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{Mapping: idmap.ForRoot(0)}); err != nil {
			t.Fatal(err)
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		damage, err := Verify(t.Context(), bytes.NewReader(data), dir, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return damage
	}
	if got := verify(func(string) error { return nil }); len(got) != 0 {
		t.Errorf("of a whole layer: %v", got)
	}
	for what, c := range map[string]struct {
		spoil func(dir string) error
		want  []string
	}{
		"a directory gone": {func(d string) error { return os.RemoveAll(d + "/bin") }, []string{"bin: missing", "bin/bash: missing", "bin/sh: missing"}},
		"a link":           {func(d string) error { return replaced(d+"/lib", func(n string) error { return os.Symlink("/etc", n) }) }, []string{"lib: points elsewhere"}},
		"a pipe": {func(d string) error {
			return replaced(d+"/pipe", func(n string) error { return os.WriteFile(n, nil, 0o600) })
		}, []string{"pipe: is of type ----------, not p---------"}},
		"content": {func(d string) error { return os.WriteFile(d+"/twice", []byte("zz"), 0o600) }, []string{"twice: has another content"}},
	} {
		got := verify(c.spoil)
		for i, g := range got {
			got[i] = strings.ReplaceAll(g, `"`, "")
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func replaced(name string, by func(string) error) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return by(name)
}

// verifyTar is a tar of files full of x.
func verifyTar(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
