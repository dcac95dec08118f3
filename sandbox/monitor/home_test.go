// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// tree makes a root file system of directories, files ("path=text") and links ("path>to").
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, e := range entries {
		var err error
		if at, to, ok := strings.Cut(e, ">"); ok {
			err = os.Symlink(to, filepath.Join(root, at))
		} else if at, text, ok := strings.Cut(e, "="); ok {
			err = os.WriteFile(filepath.Join(root, at), []byte(text), 0o600)
		} else {
			err = os.MkdirAll(filepath.Join(root, e), 0o755) //nolint:gosec // an image's
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// homesOf is what makes homes in a tree, for the user that runs the test.
func homesOf(at, home string) *homes {
	o := bundle.Defaults()
	me := uint32(os.Getuid()) //nolint:gosec // not negative
	return &homes{
		root: &root{path: at, stage: at}, options: &o, user: bundle.ResolvedUser{UID: 1000, GID: 1000, Home: home},
		mapping: idmap.Mapping{Mode: idmap.Single, Base: me, Size: 1}, uid: os.Getuid(), gid: os.Getgid(),
	}
}

// TestPlaceOfHome: a hostile image chooses home and tree, and gets no further than that.
func TestPlaceOfHome(t *testing.T) {
	root := tree(t, "etc", "usr/sbin", "tmp", "home/node", "data/u", "home/etc>/etc", "home/up>../../../../../../..", "home/link>/home/node", "home/out>../../../../data/u",
		"home/tmp>/tmp", "home/file=x", "home/loop>loop", "home/dangling>/home/new", "home/tofile>/home/file")
	for home, want := range map[string]string{
		"/home/node": "/home/node", "/home/link": "/home/node", "/home/out": "/data/u", "/home/new/deep": "/home/new/deep", "/home/dangling": "/home/new",
		"/home/tmp": "/tmp", "/home/etc": "", "/home/up": "", "/home/file": "", "/home/file/x": "", "/home/tofile": "", "/home/loop": "",
		"/": "", "": "", "/etc": "", "/usr/sbin": "", "node": "",
	} {
		h := homesOf(root, home)
		at, dir, err := h.place(home)
		if at != want || (err == nil) != (want != "") || err == nil && dir != root+want {
			t.Errorf("%q: %q, %q, %v; want %q", home, at, dir, err, want)
		}
	}
}

// TestHomeWithoutMounts: which home a user has, where none has to be mounted.
func TestHomeWithoutMounts(t *testing.T) {
	for _, c := range []struct {
		home, entries string
		change        func(o *bundle.Options)
		want          bundle.Home
		named         string // what HOME is to say
		note          bool
	}{
		{home: "/home/node", entries: "home/node", want: bundle.Home{Path: "/home/node", Kind: bundle.HomeMemory, Size: 1 << 30}},
		{home: "/home/node", entries: "home", want: bundle.Home{Path: "/home/node", Kind: bundle.HomeMemory, Size: 1 << 30}},
		{home: "/home/l", entries: "data home home/l>/data", want: bundle.Home{Path: "/data", Kind: bundle.HomeMemory, Size: 1 << 30}},
		{home: "/", want: bundle.Home{Path: bundle.DefaultHome, Kind: bundle.HomeMemory, Size: 1 << 30}, named: bundle.DefaultHome},
		{home: "/", entries: "home=x", note: true},
		{home: "/tmp"},
		{home: "/home/t", entries: "home tmp home/t>/tmp"},
		{home: "/home/node", entries: "home/node", change: func(o *bundle.Options) { o.Tmpfs = append(o.Tmpfs, bundle.Tmpfs{Path: "/home/node"}) }},
		{home: "/home/node", entries: "home/node", change: func(o *bundle.Options) { o.Binds = []bundle.Bind{{Target: "/home"}} }},
		{home: "/home/node", entries: "home/node", change: func(o *bundle.Options) { o.Space = bundle.Space{} }},
		{home: "/home/node", change: func(o *bundle.Options) { o.ReadOnly = false }, want: bundle.Home{Path: "/home/node", Kind: bundle.HomeRoot}},
	} {
		h := homesOf(tree(t, strings.Fields(c.entries)...), c.home)
		if c.change != nil {
			c.change(h.options)
		}
		got, err := h.open()
		if c.named == "" {
			c.named = c.home
		}
		if err != nil || got != c.want || h.user.Home != c.named || len(h.root.notes) > 0 != c.note {
			t.Errorf("%s in %q: %+v, %v, HOME=%s, notes %q; want %+v", c.home, c.entries, got, err, h.user.Home, h.root.notes, c.want)
		}
	}
}

// TestHomeInWritableRoot: what is there stays, what is missing is made, and nothing
// outside of the tree.
func TestHomeInWritableRoot(t *testing.T) {
	root := tree(t, "home/node", "home/node/f=x")
	if err := os.Chmod(filepath.Join(root, "home/node"), 0o555); err != nil { //nolint:gosec // the test
		t.Fatal(err)
	}
	for home, mode := range map[string]fs.FileMode{"/home/node": 0o755, "/home/a/b": 0o700} {
		h := homesOf(root, home)
		if err := h.directory(home); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(root + home)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", home, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "home/node/f")); err != nil {
		t.Error(err)
	}
}

// TestRuntimeDir: links of the image in /run lead nowhere.
func TestRuntimeDir(t *testing.T) {
	outside := t.TempDir()
	for entry, made := range map[string]bool{"x": true, "user": true, "user>" + outside: false, "user=x": false} {
		run := tree(t, entry)
		err := homesOf(run, "/").runtimeDir(run)
		if info, e := os.Lstat(filepath.Join(run, "user/0")); (err == nil && e == nil && info.Mode().Perm() == 0o700) != made {
			t.Errorf("%s: %v, %v", entry, err, e)
		}
	}
	if made, err := os.ReadDir(outside); err != nil || len(made) > 0 {
		t.Errorf("outside: %v, %v", made, err)
	}
}

func TestBounded(t *testing.T) {
	root := tree(t, "a", "a/f=12345", "g=12345", "l>/etc")
	if err := bounded(root, 10); err != nil {
		t.Error(err)
	}
	if err := bounded(root, 9); !errors.Is(err, errTooMuch) {
		t.Errorf("too many bytes: %v", err)
	}
	if err := bounded(root+"/none", 9); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
