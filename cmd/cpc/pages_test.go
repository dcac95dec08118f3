// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A hint names pages that can be opened: those that are installed, by their path.
func TestFindable(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "registry.md")
	if err := os.WriteFile(page, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"See docs/registry.md.":             "See " + page + ".",
		"docs/registry.md, docs/limits.md":  page + ", docs/limits.md",
		"mydocs/registry.md docs/CLI/x.txt": "mydocs/registry.md docs/CLI/x.txt",
	} {
		if got := findableIn(dir, text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Every page that a message or help text names is one of docs/.
func TestPagesExist(t *testing.T) {
	var files []string
	for _, part := range []string{"cmd", "sandbox", "build", "rootfs", "netns", "cgroups", "sbom", "host", "internal"} {
		err := filepath.WalkDir(filepath.Join("../..", part), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range pageName.FindAllString(string(text), -1) {
			named[name] = true
		}
	}
	for name := range named {
		if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
			t.Error(err)
		}
	}
	if len(named) < 3 {
		t.Errorf("only %v are named: is the pattern right?", named)
	}
}
