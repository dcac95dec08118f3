// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dirs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestLocate(t *testing.T) {
	const nobody = 3999999999 // owns no directory of this machine
	for _, c := range []struct {
		name string
		uid  int
		env  map[string]string
		want Dirs
	}{
		{"root", 0, map[string]string{"HOME": "/root", "XDG_DATA_HOME": "/x"}, Dirs{"/var/lib/cpc", "/run/cpc"}},
		{
			"root elsewhere", 0,
			map[string]string{"CPC_DATA_DIR": "/d/../data/", "CPC_STATE_DIR": "/s"},
			Dirs{"/data", "/s"},
		},
		{"home", nobody, map[string]string{"HOME": "/home/u"}, Dirs{"/home/u/.local/share/cpc", tmpState(nobody)}},
		{
			"xdg", nobody,
			map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "/home/u/data", "XDG_RUNTIME_DIR": "/proc"},
			Dirs{"/home/u/data/cpc", tmpState(nobody)}, // /proc is not nobody's
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := locate(c.uid, environment(c.env))
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func tmpState(uid int) string { return stateDir(uid, "") }

func TestLocateRuntimeDir(t *testing.T) {
	if os.Getuid() == 0 {
		return // root's state is in /run whatever the session says
	}
	dir := t.TempDir()
	got, err := locate(os.Getuid(), environment(map[string]string{"HOME": "/h", "XDG_RUNTIME_DIR": dir}))
	if err != nil || got.State != filepath.Join(dir, "cpc") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLocateRefuses(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing set":    {},
		"relative data":  {"CPC_DATA_DIR": "data", "CPC_STATE_DIR": "/s"},
		"relative state": {"CPC_DATA_DIR": "/d", "CPC_STATE_DIR": "s"},
		"relative xdg":   {"XDG_DATA_HOME": "share"},
	} {
		if got, err := locate(1000, environment(env)); err == nil {
			t.Errorf("%s: %+v and no error", name, got)
		}
	}
}

func TestPrivate(t *testing.T) {
	base := t.TempDir()
	mode := func(dir string) os.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	fresh := filepath.Join(base, "a", "b")
	if err := private(fresh); err != nil || mode(fresh) != 0o700 {
		t.Errorf("new: %v, mode %o", err, mode(fresh))
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := private(open); err != nil || mode(open) != 0o700 {
		t.Errorf("open to others: %v, mode %o", err, mode(open))
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := private(file); err == nil {
		t.Error("a file was taken for a directory")
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(open, link); err != nil {
		t.Fatal(err)
	}
	if err := private(link); err == nil {
		t.Error("a symbolic link was followed")
	}
}

// TestPrivateForeign is about /tmp, where anybody may have been there first.
func TestPrivateForeign(t *testing.T) {
	dir := "/" // root's, so foreign to an ordinary user
	if os.Getuid() == 0 {
		dir = filepath.Join(t.TempDir(), "foreign")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := private(dir); err == nil {
		t.Errorf("%s belongs to somebody else and was accepted", dir)
	}
}

func TestFind(t *testing.T) {
	base := t.TempDir()
	t.Setenv("CPC_DATA_DIR", filepath.Join(base, "data"))
	t.Setenv("CPC_STATE_DIR", filepath.Join(base, "state"))
	d, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.Data, d.State} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
}

// The data directory may be a link that the caller has made, to a directory of
// the caller's.
func TestFollowed(t *testing.T) {
	base := t.TempDir()
	target, link, nowhere := filepath.Join(base, "real"), filepath.Join(base, "link"), filepath.Join(base, "nowhere")
	if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink("real", link), os.Symlink("gone", nowhere)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CPC_STATE_DIR", filepath.Join(base, "state"))
	for data, want := range map[string]string{target: target, link: target, filepath.Join(base, "new"): filepath.Join(base, "new")} {
		t.Setenv("CPC_DATA_DIR", data)
		if got, err := Find(); err != nil || got.Data != want {
			t.Errorf("%s: %s, %v", data, got.Data, err)
		}
	}
	t.Setenv("CPC_DATA_DIR", nowhere)
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "link to nothing") {
		t.Errorf("a link to nothing: %v", err)
	}
	t.Setenv("CPC_DATA_DIR", target)
	t.Setenv("CPC_STATE_DIR", link)
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("the state directory is a link: %v", err)
	}
	if os.Getuid() == 0 {
		if err := os.Lchown(link, 1, 1); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CPC_DATA_DIR", link)
		if _, err := Find(); err == nil || !strings.Contains(err.Error(), "nor root has made") {
			t.Errorf("somebody else's link: %v", err)
		}
	}
}
