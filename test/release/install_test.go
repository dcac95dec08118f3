// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package release tests what is installed: by make install, and by the packages
// (packages.sh builds those, fresh.sh installs them; both are run by hand).
package release

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tree is what is below a directory: modes of directories, modes and contents of files.
type tree map[string]string

func look(t *testing.T, dir string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := []byte("directory")
		if !e.IsDir() {
			if text, err = os.ReadFile(path); err != nil { //nolint:gosec // a test's own
				return err
			}
		}
		name, err := filepath.Rel(dir, path)
		found[name] = fmt.Sprintf("%v %s", info.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as a system's
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // as a system's
		t.Fatal(err)
	}
}

// installation is a place for make install, with programs and pages that stand for
// the real ones.
type installation struct{ built, dest string }

func (i installation) make(t *testing.T, target string) (string, error) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "umask 077; exec \"$@\"", "sh", "make", "-C", "../..", "--no-print-directory", //nolint:gosec // a test's own
		"-o", "build", "-o", "bin/man", target, "DESTDIR="+i.dest, "PREFIX=/opt/x", "BIN="+i.built, "MAN="+i.built)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (i installation) must(t *testing.T, target string) {
	t.Helper()
	if out, err := i.make(t, target); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
}

// TestUninstall: make uninstall removes all that make install has put there, also an
// older installation's files, and nothing else.
func TestUninstall(t *testing.T) {
	i := installation{t.TempDir(), t.TempDir()}
	prefix := filepath.Join(i.dest, "opt/x")
	for _, name := range []string{"cpc", "cpc-runtime", "cpc-scan", "cpc.1", "cpc-run.1", "cpc-old.1", "_cpc", "cpc.bash", "cpc.fish"} {
		write(t, filepath.Join(i.built, name), name)
	}
	// What others have put beside it, by similar names.
	for _, name := range []string{"bin/cpc-other", "share/man/man1/cpc-other.1", "share/doc/other/x", "lib/systemd/system/cpc-other.service"} {
		write(t, filepath.Join(prefix, name), name)
	}
	if err := os.MkdirAll(filepath.Join(prefix, "share/zsh/empty"), 0o755); err != nil { //nolint:gosec // as a system's
		t.Fatal(err)
	}
	before := look(t, i.dest)
	i.must(t, "install")
	installed := look(t, prefix)
	for name, mode := range map[string]string{
		"bin/cpc": "-rwxr-xr-x", "share/man/man1/cpc-old.1": "-rw-r--r--", "share/doc/cpc": "drwxr-xr-x", "share/doc/cpc/registry.md": "-rw-r--r--",
		"share/cpc/apparmor/cpc-sandbox": "-rw-r--r--", "share/cpc/seccomp/default-arm64.json": "-rw-r--r--", "share/zsh/site-functions/_cpc": "-rw-r--r--",
		"share/bash-completion/completions/cpc": "-rw-r--r--", "lib/systemd/system/cpc-sandbox@.service": "-rw-r--r--", "lib/sysusers.d/cpc.conf": "-rw-r--r--",
	} {
		if !strings.HasPrefix(installed[name], mode) {
			t.Errorf("%s: %.10q, want %s", name, installed[name], mode)
		}
	}
	links(t, filepath.Join(prefix, "share/doc/cpc"))
	// An update that has one page less.
	if err := os.Remove(filepath.Join(i.built, "cpc-old.1")); err != nil {
		t.Fatal(err)
	}
	i.must(t, "install")
	if _, there := look(t, prefix)["share/man/man1/cpc-old.1"]; there {
		t.Error("an update leaves what only the older version had")
	}
	i.must(t, "uninstall")
	after := look(t, i.dest)
	for name, is := range after {
		if before[name] != is {
			t.Errorf("left: %s", name)
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			t.Errorf("removed: %s, which was not installed", name)
		}
	}
	if out, err := i.make(t, "uninstall"); err == nil || !strings.Contains(out, "nothing is installed") {
		t.Errorf("a second time: %v, %s", err, out)
	}
}

// links checks that what the installed pages refer to is installed, too.
func links(t *testing.T, dir string) {
	t.Helper()
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page) //nolint:gosec // a test's own
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil && !strings.Contains(m[1], "://") {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
	}
}
