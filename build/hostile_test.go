// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"

	"github.com/claude-pocket-console/cpc/build/files"
)

// marker makes a file on the host that no build may ever see, and returns the
// directory that it is in.
func marker(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "marker"), []byte("the host's"), 0o644)
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755) // what others own is open already
	}
	return dir
}

// TestHostile: what is known of BuildKit's and Buildah's holes gets nothing.
func TestHostile(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		host := marker(t)
		for _, c := range []struct {
			name, dockerfile string
			fails            string // "" where the build is harmless and works
		}{
			{"CVE-2024-23651 a cache's source is a link that leads out", "FROM base\n" +
				"RUN --mount=type=cache,target=/c ln HOST /c/sub\n" +
				"RUN --mount=type=cache,target=/x,id=/c,source=sub cat /x/marker\n", "sub: no such file or directory in the cache /c"},
			{"CVE-2024-1753 a stage's source is a link that leads out", "FROM base AS one\nRUN ln HOST /sub && ln / /all && echo mine > /marker\nFROM base\n" +
				"RUN --mount=from=one,source=all,target=/x,rw cat /x/marker > /got\n" +
				"RUN --mount=from=one,source=sub,target=/x,rw cat /x/marker\n", "no such file or directory in stage one"},
			{"CVE-2024-1753 the context's source is a link that leads out", "FROM base\nRUN --mount=source=link,target=/x cat /x/marker\n", "a symbolic link leads out of the build context"},
			{"CVE-2024-9675 a cache's id is a path", "FROM base\nRUN --mount=type=cache,id=../../../../../../..HOST,target=/x cat /x/marker\n", "exit code: 1"},
			{"CVE-2024-9407 a propagation of its own", "FROM base\nRUN --mount=type=bind,target=/x,bind-propagation=shared true\n", "unexpected key 'bind-propagation'"},
			{"CVE-2024-23652 a mount point behind a link that leads out", "FROM base\nRUN mkdir HOST && ln HOST /a\nRUN --mount=type=tmpfs,target=/a/empty true\n", ""},
			{"CVE-2024-23653 a step without walls", "FROM base\nRUN --security=insecure cat HOST/marker\n", "is refused"},
			{"CVE-2026-33747 a frontend", "# syntax=example.org/evil\nFROM base\n", "only docker/dockerfile:1"},
			{"a source above the root", "FROM base\nCOPY ../../../../../..HOST/marker /x\n", "no such file or directory in the build context"},
			{"a source with the host's name", "FROM base\nCOPY HOST/marker /x\n", "no such file or directory in the build context"},
			{"a destination behind a link", "FROM base\nRUN ln HOST /a\nCOPY helper /a/marker\nRUN ln HOST/marker /b\nCOPY helper /b\n", ""},
			{"a working directory behind a link", "FROM base\nRUN ln HOST /a\nWORKDIR /a/made\n", ""},
			{"a copy of a link", "FROM base AS one\nRUN ln HOST /a\nFROM base\nCOPY --from=one /a/marker /x\n", "no such file or directory in stage one"},
			{"a script with the host's name", "FROM base\nRUN <</../../x\n#!/bin/sh cat\nmine\n/../../x\n", ""},
			{"a heredoc with the host's name", "FROM base\nCOPY <<../../marker /a/\nx\n../../marker\n", ""},
		} {
			text := strings.ReplaceAll(c.dockerfile, "HOST", host)
			dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(text)})
			if err := os.Symlink(host, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			_, err := Build(t.Context(), b.options(dir, &out))
			switch {
			case c.fails == "" && err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("%s: got %v, want %s", c.name, err, c.fails)
			}
			if strings.Contains(out.String(), "the host's") {
				t.Errorf("%s: the host's file was read\n%s", c.name, out.String())
			}
			entries, err := os.ReadDir(host)
			if err != nil || len(entries) != 1 {
				t.Errorf("%s: the host's directory is changed: %v %v", c.name, entries, err)
			}
			if data, _ := os.ReadFile(filepath.Join(host, "marker")); string(data) != "the host's" {
				t.Errorf("%s: the host's file is changed: %.20q", c.name, data)
			}
		}
		o := b.options(b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\n")}), t.Output())
		o.Args["BUILDKIT_SYNTAX"] = "example.org/evil"
		if _, err := Build(t.Context(), o); err == nil {
			t.Error("a frontend as a build argument is accepted")
		}
		b.nothingLeft(t)
	})
}

// TestPinRace: whoever swaps a mount's source for a link while it is being
// mounted gets a directory of the tree or nothing (CVE-2024-23651, -11218).
func TestPinRace(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		host := marker(t)
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "real"), 0o755), os.Symlink(host, filepath.Join(dir, "link"))); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var swapping sync.WaitGroup
		swapping.Go(func() {
			root, err := os.Open(dir)
			if err != nil {
				return
			}
			defer root.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = unix.Renameat2(int(root.Fd()), "real", int(root.Fd()), "link", unix.RENAME_EXCHANGE)
			}
		})
		tr, err := files.Open(dir, "the tree")
		if err != nil {
			t.Fatal(err)
		}
		w := &step{stage: &stage{b: &builder{Options: Options{Store: b.store}}}}
		mounted := 0
		for i := range 2000 {
			at := filepath.Join(b.dir, "at"+string(rune('a'+i%26)))
			if err := w.pin(tr, "/real", at); err == nil {
				mounted++
				if _, err := os.Lstat(filepath.Join(at, "marker")); err == nil {
					t.Error("the host's directory was mounted")
				}
			}
			if err := w.close(); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(at); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		swapping.Wait()
		if mounted == 0 {
			t.Error("nothing was ever mounted")
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCachePoisoning: what one build leaves in the cache is found by another
// only for the same instruction on the same files.
func TestCachePoisoning(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		build := func(dockerfile string, files ...txtar.File) int {
			dir := b.context(t, append(files, txtar.File{Name: "Dockerfile", Data: []byte(dockerfile)})...)
			_, runs := b.rebuild(t, dir, nil)
			return runs
		}
		good, evil := txtar.File{Name: "f", Data: []byte("good")}, txtar.File{Name: "f", Data: []byte("evil")}
		build("FROM base\nRUN --mount=source=f,target=/f cat /f > /g\n", evil)
		if build("FROM base\nRUN --mount=source=f,target=/f cat /f > /g\n", good) != 1 {
			t.Error("a step with another mounted file is taken from the cache")
		}
		build("FROM base AS one\nRUN echo evil > /x\nFROM base\nRUN --mount=from=one,target=/o cat /o/x > /g\n")
		if build("FROM base AS one\nRUN echo good > /x\nFROM base\nRUN --mount=from=one,target=/o cat /o/x > /g\n") != 2 {
			t.Error("a step with another mounted stage is taken from the cache")
		}
		build("FROM base\nRUN <<X\n#!/bin/sh cat\nevil\nX\n")
		if build("FROM base\nRUN <<X\n#!/bin/sh cat\ngood\nX\n") != 1 {
			t.Error("a step with another script is taken from the cache")
		}
		build("FROM base\nRUN --network=none echo 1\n")
		if build("FROM base\nRUN echo 1\n") != 1 {
			t.Error("a step with another network is taken from the cache")
		}
	})
}
