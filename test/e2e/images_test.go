// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// TestImageCommands goes through what docker has for images.
func TestImageCommands(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o := newStore(t, w)
		o.importSmall(t, "x/one:v1")
		id := strings.TrimSpace(o.must(t, "images", "-q"))
		o.must(t, "tag", "x/one:v1", "x/two:v2")
		if got := o.must(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=x/*:v2"); got != "x/two:v2\n" {
			t.Errorf("filtered: %q", got)
		}
		if got := o.must(t, "history", "-q", "--no-trunc", "x/one:v1"); !strings.HasPrefix(got, "sha256:"+id) {
			t.Errorf("history: %q", got)
		}
		o.fails(t, 1, []string{"several names", "--force"}, "rmi", id)

		archive := filepath.Join(o.dir, "archive.tar")
		o.must(t, "save", "-o", archive, "x/one:v1", "x/two:v2")
		piped := o.must(t, "image", "save", "--format", "oci-archive", "x/one:v1")
		if got := lines(o.must(t, "rmi", "-f", id)); !slices.Contains(got, "Untagged: x/two:v2") || !strings.HasPrefix(got[len(got)-1], "Deleted: sha256:"+id) {
			t.Errorf("rmi -f: %q", got)
		}
		if got := o.must(t, "load", "-i", archive); got != "Loaded image: x/one:v1\nLoaded image: x/two:v2\n" {
			t.Errorf("load: %q", got)
		}
		if unpacked, err := filepath.Glob(filepath.Join(o.dir, "*", "layers", "*", "*")); err != nil || len(unpacked) == 0 {
			t.Errorf("load did not unpack: %v", err)
		}
		o.must(t, "rmi", "x/one:v1")
		cmd := o.cpc("load", "-q")
		cmd.Stdin = strings.NewReader(piped)
		if r := finish(t, cmd); r.stdout != "x/one:v1\n" {
			t.Errorf("load from a pipe: %+v", r)
		}
		if got := strings.TrimSpace(o.must(t, "images", "-q")); got != id {
			t.Errorf("id is %s, was %s", got, id)
		}
		o.fails(t, 1, []string{"no image archive", "cpc import"}, "load", "-i", "/etc/passwd")
		o.fails(t, 125, []string{"docker-archive"}, "save", "--format", "zip", "x/one:v1")

		// Something without a name, for prune.
		o.importSmall(t, "x/three")
		o.must(t, "tag", "x/one:v1", "x/three")
		if got := o.must(t, "images", "-q", "--filter", "dangling=true"); len(lines(got)) != 1 {
			t.Errorf("dangling: %q", got)
		}
		o.fails(t, 1, []string{"Are you sure"}, "image", "prune")
		if got := o.must(t, "image", "prune", "-f"); !strings.Contains(got, "Deleted: sha256:") || !strings.Contains(got, "Total reclaimed space: ") {
			t.Errorf("prune: %q", got)
		}
		o.must(t, "system", "df")
		o.must(t, "system", "check")
		_, layer := o.manifest(t)
		flip(t, layer)
		o.fails(t, 1, []string{"damaged", "--repair"}, "system", "check")
		o.must(t, "system", "check", "--repair")
		if got := o.must(t, "images", "-q"); got != "" {
			t.Errorf("after the repair: %q", got)
		}
		o.must(t, "load", "-i", archive)
		o.must(t, "system", "prune", "-af")
		o.clean(t)
	})
}

// TestExport takes the file system of an image and that of a running sandbox.
func TestExport(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--read-only=false", "--user", "0"}, "sh", "-c", "echo hello >/exported; ln -s /etc/shadow /link; sleep 60")
		testkit.Eventually(t, time.Minute, "the file", func() bool {
			_, _, code := w.run(t, "exec", name, "test", "-L", "/link")
			return code == 0
		})
		for what, want := range map[string]bool{name: true, base: false} {
			data := w.must(t, "export", what)
			files := tarFiles(t, strings.NewReader(data))
			if got, ok := files["exported"]; ok != want || want && got != "hello\n" {
				t.Errorf("%s: exported is %q, %v", what, got, ok)
			}
			if _, ok := files["etc/passwd"]; !ok {
				t.Errorf("%s: no etc/passwd among %d files", what, len(files))
			}
		}
		if _, stderr, code := w.run(t, "export", "no-such-thing"); code != 1 || !strings.Contains(stderr, "no such sandbox or image") {
			t.Errorf("of nothing: %d %s", code, stderr)
		}
	})
}

// TestPushAndLogin pushes to a registry and reads back what is there.
func TestPushAndLogin(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o := newStore(t, w)
		var never atomic.Bool
		ref, digest := serveRegistry(t, &never)
		o.must(t, "pull", ref)
		mine := strings.TrimSuffix(ref, "pulled:1") + "mine:v1.0.0"
		o.must(t, "tag", ref, mine)
		if got := o.must(t, "push", mine); got != "v1.0.0: digest: "+digest+" size: "+sizeOf(t, o, digest)+"\n" {
			t.Errorf("push: %q", got)
		}
		if got := o.must(t, "search", "--format", "{{.Tag}}", strings.TrimSuffix(mine, ":v1.0.0")); got != "v1.0.0\n" {
			t.Errorf("tags: %q", got)
		}
		o.must(t, "rmi", ref, mine)
		pinned := strings.TrimSuffix(mine, ":v1.0.0") + "@" + digest
		if got := o.must(t, "pull", "-q", pinned); got != digest+"\n" {
			t.Errorf("pinned: %q", got)
		}
		o.fails(t, 1, []string{"no such image"}, "pull", mine+"-no")
	})
}

func sizeOf(t *testing.T, o *ownStore, digest string) string {
	t.Helper()
	st, err := os.Stat(filepath.Join(o.dir, "data/oci/blobs", strings.ReplaceAll(digest, ":", "/")))
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(st.Size(), 10)
}

// tarFiles returns the regular files of a tar, by name.
func tarFiles(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			files[hdr.Name] = string(data)
		}
	}
}
