// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// entry is a member of a hostile tar.
type entry struct {
	name, link, data string
	kind             byte
	major, minor     int64
}

func makeTar(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.data)),
			Devmajor: e.major, Devminor: e.minor, Format: tar.FormatGNU,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostileTars imports tars that are broken or mean harm. Each is refused
// with the name of what is wrong in it, the file that it goes for is not
// touched, and the store is as it was before.
func TestHostileTars(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		// What the tars go for: a file and a directory that the caller could
		// well write to.
		prey := filepath.Join(w.home, "prey")
		if err := errors.Join(os.MkdirAll(prey, 0o755), os.WriteFile(prey+"/secret", []byte("secret"), 0o600), //nolint:gosec // it is to be reached
			os.Chown(prey, w.uid, w.gid), os.Chown(prey+"/secret", w.uid, w.gid)); err != nil {
			t.Fatal(err)
		}
		up := strings.Repeat("../", 20)
		big := makeTar(t, entry{name: "f", data: strings.Repeat("content ", 20000)})
		for _, c := range []struct {
			name string
			tar  []byte
			says []string
		}{
			{"dot dot", makeTar(t, entry{name: up + prey + "/new"}), []string{"prey/new", `name with ".."`}},
			{"absolute symlink parent", makeTar(t, entry{name: "a", kind: tar.TypeSymlink, link: prey}, entry{name: "a/new"}), []string{`"a/new": parent directory`}},
			{"relative symlink parent", makeTar(t, entry{name: "a", kind: tar.TypeSymlink, link: up + prey}, entry{name: "a/new"}), []string{`"a/new": parent directory`}},
			{"hard link out, absolute", makeTar(t, entry{name: "f", kind: tar.TypeLink, link: prey + "/secret"}), []string{`"f": hard link`}},
			{"hard link out, relative", makeTar(t, entry{name: "f", kind: tar.TypeLink, link: up + prey + "/secret"}), []string{`"f": hard link`, `".."`}},
			{"hard link through a symlink", makeTar(t, entry{name: "s", kind: tar.TypeSymlink, link: prey}, entry{name: "f", kind: tar.TypeLink, link: "s/secret"}), []string{`"f": hard link`}},
			{"hard link to nothing", makeTar(t, entry{name: "f", kind: tar.TypeLink, link: "nothing"}), []string{`"f": hard link to "nothing"`}},
			{"root is a symlink", makeTar(t, entry{name: "./", kind: tar.TypeSymlink, link: prey}), []string{"must be a directory"}},
			{"odd whiteout", makeTar(t, entry{name: ".wh..."}), []string{"malformed whiteout"}},
			{"truncated", big[:len(big)/2], []string{`unpack "f"`, "unexpected EOF", "download it again"}},
			{"truncated gzip", compress(t, big)[:100], []string{"unexpected EOF", "download it again"}},
			{"no tar", []byte(strings.Repeat("hello\n", 1000)), []string{"invalid tar header", "tar of a root file system"}},
			{"gzip of no tar", compress(t, []byte(strings.Repeat("hello\n", 1000))), []string{"invalid tar header"}},
			{"nothing", nil, []string{"cut short"}},
		} {
			images, files := w.must(t, "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}"), w.storeFiles(t)
			cmd := w.cpc(t, "import", "-", "hostile:1")
			cmd.Stdin = bytes.NewReader(c.tar)
			r := finish(t, cmd)
			if r.code != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, "cpc import: import hostile:1: ") {
				t.Errorf("%s: exit status %d, stdout %q, stderr %q", c.name, r.code, r.stdout, r.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(r.stderr, s) {
					t.Errorf("%s: does not say %q: %s", c.name, s, r.stderr)
				}
			}
			if now := w.must(t, "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}"); now != images {
				t.Errorf("%s: images changed:\n%s", c.name, now)
			}
			if now := w.storeFiles(t); !slices.Equal(now, files) {
				t.Errorf("%s: files of the store changed:\n%s\n%s", c.name, files, now)
			}
		}
		names, err := os.ReadDir(prey)
		secret, readErr := os.ReadFile(prey + "/secret")
		if err != nil || readErr != nil || len(names) != 1 || string(secret) != "secret" {
			t.Errorf("the prey was caught: %v, %q, %v, %v", names, secret, err, readErr)
		}
	})
}

// storeFiles lists what a failed import or build could have left.
func (w *who) storeFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"oci/blobs/*/*", "layers/*/*", "tmp/*", "scratch/*", "cache/*/*"} {
		names, err := filepath.Glob(filepath.Join(w.data, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	return all
}

// TestInsideOnly imports a tar whose names are absolute or lead through
// symbolic links that stay inside: they mean the image's root, not the host's.
func TestInsideOnly(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "import", "-", "inside:1")
		cmd.Stdin = bytes.NewReader(makeTar(t,
			entry{name: "/etc/", kind: tar.TypeDir}, entry{name: "/etc/cpc-e2e-inside", data: "x"},
			entry{name: "link", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "link/below", data: "y"}))
		r := finish(t, cmd)
		if r.code != 0 {
			t.Fatal(r.stderr)
		}
		defer w.must(t, "rmi", "inside:1")
		if _, err := os.Lstat("/etc/cpc-e2e-inside"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("written to the host: %v", err)
		}
		if _, err := os.Lstat("/etc/below"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("written to the host: %v", err)
		}
	})
}

// zeros is as many bytes as are asked for, and no memory.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBomb imports a small file that unpacks to a lot: it neither fills the
// disk, because a run of zeros takes none, nor the memory, because it is
// unpacked as a stream; a process of 256 MiB does it.
func TestBomb(t *testing.T) {
	const size = 512 << 20
	file := filepath.Join(t.TempDir(), "bomb.tar.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, w *who) {
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := w.cpc(t, "import", "-", "bomb:1")
		cmd.Stdin = in
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", 256<<20))
		if r := finish(t, cmd); r.code != 0 {
			t.Fatalf("exit status %d: %s", r.code, r.stderr)
		}
		defer w.must(t, "rmi", "bomb:1")
		if got := maxRSS(cmd); got > 256<<20 {
			t.Errorf("%d MiB of memory", got>>20)
		}
	})
}
