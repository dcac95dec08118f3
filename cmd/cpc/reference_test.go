// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/claude-pocket-console/cpc/internal/golden"
)

var manual = flag.String("manual", "", "write the man pages into `DIR`")

// TestReference compares docs/cli with what the commands say of themselves.
// `make generate` writes it.
func TestReference(t *testing.T) {
	root := documented(t)
	fresh := t.TempDir()
	also := aliases(root)
	page := func(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md" }
	target := map[string]string{}
	for alias, cmd := range also {
		target[page(alias)] = page(cmd)
	}
	link := func(name string) string { return cmp.Or(target[name], name) }
	if err := doc.GenMarkdownTreeCustom(root, fresh, func(string) string { return "" }, link); err != nil {
		t.Fatal(err)
	}
	for alias, cmd := range also {
		if err := os.Remove(filepath.Join(fresh, page(alias))); err != nil {
			t.Fatal(err)
		}
		nameAlso(t, filepath.Join(fresh, page(cmd)), cmd, also)
	}
	same(t, fresh, "../../docs/cli")
}

// nameAlso says in cmd's page under which further names cmd can be had.
func nameAlso(t *testing.T, path string, cmd *cobra.Command, also map[*cobra.Command]*cobra.Command) {
	t.Helper()
	var names []string
	for alias, c := range also {
		if c == cmd {
			names = append(names, "`"+alias.CommandPath()+"`")
		}
	}
	slices.Sort(names)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const options = "\n### Options\n"
	before, after, found := strings.Cut(string(text), options)
	if line := "\nThe same: " + strings.Join(names, ", ") + ".\n"; !strings.HasSuffix(before, line) {
		before += line
	}
	if !found {
		t.Fatalf("%s has no options", path)
	}
	if err := os.WriteFile(path, []byte(before+options+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestManual makes the man pages and completions; `make install` has it write them to a
// directory. No program links what writes them.
func TestManual(t *testing.T) {
	dir := cmp.Or(*manual, t.TempDir())
	root := documented(t)
	also := aliases(root)
	// The date is that of the first pages: one that moved would make every
	// build's pages differ.
	date := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	header := &doc.GenManHeader{Section: "1", Source: "cpc", Manual: "cpc manual", Date: &date}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	page := func(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1" }
	for alias, cmd := range also {
		if err := os.WriteFile(filepath.Join(dir, page(alias)), []byte(".so man1/"+page(cmd)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(root.GenBashCompletionFileV2(filepath.Join(dir, "cpc.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_cpc")),
		root.GenFishCompletionFile(filepath.Join(dir, "cpc.fish"), true)); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range root.Commands() {
		text, err := os.ReadFile(filepath.Join(dir, page(cmd)))
		if cmd.IsAvailableCommand() && (err != nil || !strings.Contains(string(text), cmd.Short)) {
			t.Errorf("%s: no man page that says what it does: %v", cmd.CommandPath(), err)
		}
	}
}

// documented is the command line as the reference describes it.
func documented(t *testing.T) *cobra.Command {
	t.Helper()
	// Defaults that come from the environment are not the reader's.
	t.Setenv("CPC_RUNTIME", "")
	t.Setenv("CPC_LIMITS", "")
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	disableTags(root)
	return root
}

// aliases are the commands below root that are another one under a noun, such
// as "container ls", with that other one.
func aliases(root *cobra.Command) map[*cobra.Command]*cobra.Command {
	found, seen := map[*cobra.Command]*cobra.Command{}, map[string]*cobra.Command{}
	level := root.Commands()
	for len(level) > 0 {
		var next []*cobra.Command
		for _, cmd := range level {
			next = append(next, cmd.Commands()...)
			if !cmd.IsAvailableCommand() || cmd.HasSubCommands() {
				continue
			}
			says := cmd.Short + cmd.Long + cmd.Example + cmd.NonInheritedFlags().FlagUsages()
			if !cmd.NonInheritedFlags().HasFlags() {
				says += cmd.Name()
			}
			if first, ok := seen[says]; ok {
				found[cmd] = first
			} else {
				seen[says] = cmd
			}
		}
		level = next
	}
	return found
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
	if golden.Updating() {
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
