// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write the command reference, man pages and completions anew")

// TestReference compares docs/cli, docs/man and docs/completion with what the
// commands say of themselves. `make generate` writes them.
func TestReference(t *testing.T) {
	// Defaults that come from the environment are not the reader's.
	t.Setenv("CPC_RUNTIME", "")
	t.Setenv("CPC_LIMITS", "")
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	disableTags(root)
	fresh := t.TempDir()
	for _, dir := range []string{"cli", "man", "completion"} {
		if err := os.Mkdir(filepath.Join(fresh, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := doc.GenMarkdownTree(root, filepath.Join(fresh, "cli")); err != nil {
		t.Fatal(err)
	}
	// The date is that of the first pages: one that moved would make every
	// build's pages differ.
	date := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	header := &doc.GenManHeader{Section: "1", Source: "cpc", Manual: "cpc manual", Date: &date}
	if err := doc.GenManTree(root, header, filepath.Join(fresh, "man")); err != nil {
		t.Fatal(err)
	}
	completions(t, root, filepath.Join(fresh, "completion"))
	for _, dir := range []string{"cli", "man", "completion"} {
		same(t, filepath.Join(fresh, dir), filepath.Join("../../docs", dir))
	}
}

func completions(t *testing.T, root *cobra.Command, dir string) {
	t.Helper()
	for name, generate := range map[string]func(*bytes.Buffer) error{
		"cpc.bash": func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) },
		"_cpc":     func(b *bytes.Buffer) error { return root.GenZshCompletion(b) },
		"cpc.fish": func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) },
	} {
		var b bytes.Buffer
		if err := generate(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func disableTags(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	for _, c := range cmd.Commands() {
		disableTags(c)
	}
}

// same compares two directories, or with -update makes the second the first.
func same(t *testing.T, fresh, kept string) {
	t.Helper()
	if *update {
		if err := os.RemoveAll(kept); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(kept, os.DirFS(fresh)); err != nil {
			t.Fatal(err)
		}
		return
	}
	names := slices.Concat(list(t, fresh), list(t, kept))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		want, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			t.Errorf("%s/%s: no command has it any more; run: make generate", kept, name)
			continue
		}
		got, err := os.ReadFile(filepath.Join(kept, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s/%s differs from what the commands say; run: make generate", kept, name)
		}
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestHelpIsComplete looks at every command and flag for what a person needs
// in order to use it.
func TestHelpIsComplete(t *testing.T) {
	root := newRoot(&app{})
	for _, cmd := range root.Commands() {
		if cmd.Hidden { // it says why it is none
			continue
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short description %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.RunE == nil || cmd.Args == nil {
			t.Errorf("%s: arguments are not checked, or it does nothing", cmd.CommandPath())
		}
	}
}
