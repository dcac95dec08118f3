// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tested is a block of commands in a page that says that it is tested.
var tested = regexp.MustCompile("(?s)<!-- tested -->\n```sh\n(.*?)```")

// prints is what a command of such a block writes, as a comment behind it says.
var prints = regexp.MustCompile(`# prints: (.*)`)

// The commands that the documentation shows work as they stand there: the blocks of
// a page that are marked as tested are one script, and write what they say.
func TestDocumentation(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		for _, block := range tested.FindAllStringSubmatch(string(text), -1) {
			script.WriteString(block[1])
		}
		if script.Len() == 0 {
			continue
		}
		ran++
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) { w.runPage(t, script.String()) })
		})
	}
	if ran < 4 {
		t.Errorf("%d pages have tested commands", ran)
	}
}

// runPage runs a page's commands in a directory of their own.
func (w *who) runPage(t *testing.T, script string) {
	t.Helper()
	w.cpc(t)                                  // the base image is there
	dir, err := os.MkdirTemp(w.home, "page-") //nolint:usetesting // where the caller can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, w.uid, w.gid); err != nil {
		t.Fatal(err)
	}
	cmd := w.command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(w.bin)+":/usr/local/bin:/usr/bin:/bin", "CPC_LIMITS=best-effort")
	got := finish(t, cmd)
	if got.code != 0 {
		t.Fatalf("exit status %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range prints.FindAllStringSubmatch(script, -1) {
		if !strings.Contains(got.stdout, want[1]+"\n") {
			t.Errorf("no line %q in\n%s%s", want[1], got.stdout, got.stderr)
		}
	}
}
