// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKnownTerminal(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/terminfo/x", "usr/share/terminfo/t", "usr/share/terminfo/d/dumbdir"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil { //nolint:gosec // an image's
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"lib": "usr/lib", "usr/share/terminfo/t/tmux": "/usr/lib/terminfo/x/xterm-256color", "usr/share/terminfo/t/trick": "/proc/self/exe",
	} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/usr/lib/terminfo/x/xterm-256color", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ asked, want Terminal }{
		"known":                {Terminal{"xterm-256color", ""}, Terminal{"xterm-256color", ""}},
		"with colours":         {Terminal{"xterm-256color", "truecolor"}, Terminal{"xterm-256color", "truecolor"}},
		"other colours":        {Terminal{"xterm-256color", "a\nb"}, Terminal{"xterm-256color", ""}},
		"a link in the image":  {Terminal{"tmux", "24bit"}, Terminal{"tmux", "24bit"}},
		"a link out of it":     {Terminal{"trick", ""}, Terminal{}},
		"a directory":          {Terminal{"dumbdir", ""}, Terminal{}},
		"unknown":              {Terminal{"xterm-kitty", "truecolor"}, Terminal{}},
		"none":                 {},
		"a path":               {Terminal{"../x/xterm-256color", ""}, Terminal{}},
		"more than a variable": {Terminal{"xterm-256color\nX=1", ""}, Terminal{}},
	} {
		if got := KnownTerminal(root, c.asked); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
