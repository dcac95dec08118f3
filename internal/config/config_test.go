// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	got, err := Parse(`
[egress]
allow = ["@debian", "git.example.org:22"]
deny = []
limit = true
image-label = "ignore"
[network]
host-ca = "/etc/ssl/company.pem"
proxy = true
dns-search = ["corp.example"]
[build]
cache-size = "20GB"
[build.egress]
allow = ["@npm"]
`)
	want := File{
		Egress:  Egress{Allow: []string{"@debian", "git.example.org:22"}, Deny: []string{}, Limit: true, ImageLabel: LabelIgnore},
		Network: Network{HostCA: &CA{On: true, Path: "/etc/ssl/company.pem"}, Proxy: new(true), DNSSearch: []string{"corp.example"}},
		Build:   Build{Egress: Rules{Allow: []string{"@npm"}}, CacheSize: &CacheSize{Bytes: 20e9}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = Parse("[network]\nhost-ca = false"); err != nil || got.Network.HostCA == nil || got.Network.HostCA.On {
		t.Errorf("%+v, %v", got, err)
	}
	// Nothing is allowed, and nothing is said, are not the same.
	if got, err = Parse("[egress]\nallow = []"); err != nil || got.Egress.Allow == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = Parse(""); err != nil || got.Egress.Allow != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestProfiles: which keys a profile has is another package's to say, and only the
// administrator says what nothing may be weaker than.
func TestProfiles(t *testing.T) {
	const text = "profile = 'site'\nminimum = 'site'\n[profiles.site]\nbase = 'work'\npids-limit = 9\n[profiles.site.root]\ncap-add = ['FOWNER']\n"
	got, err := Parse(text)
	want := File{Profile: "site", Minimum: "site", Profiles: map[string]Profile{
		"site": {"base": "work", "pids-limit": int64(9), "root": map[string]any{"cap-add": []any{"FOWNER"}}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := load(path, filepath.Join(dir, "none")); err != nil || c.System.Minimum != "site" {
		t.Errorf("the administrator's: %+v, %v", c, err)
	}
	if _, err := load(filepath.Join(dir, "none"), path); err == nil || !strings.Contains(err.Error(), "minimum is for the administrator's") {
		t.Errorf("a user's minimum: %v", err)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[egress]\nalow = []":              "unknown key egress.alow",
		"[egres]\nallow = []":              "unknown key egres",
		"[egress]\nallow = 1":              "allow",
		"[build.egress]\nlimit = true":     "unknown key build.egress.limit",
		"[egress\n":                        "line 2",
		"[network]\nhost-ca = 1":           "host-ca",
		"[network]\nhost-ca = 'ca.pem'":    "absolute",
		"[egress]\nimage-label = 'trust'":  "image-label",
		"[network]\nproxy = 'http://p/'\n": "proxy",
		"[build]\ncache-size = 10":         "cache-size",
		"[build]\ncache-size = '0%'":       "cache-size",
		"[build]\ncache-size = '101%'":     "cache-size",
		"[build]\ncache-size = '-1GB'":     "cache-size",
		"[build]\ncache-size = 'big'":      "cache-size",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	system, user := filepath.Join(dir, "system.toml"), filepath.Join(dir, "user.toml")
	if c, err := load(system, user); err != nil || c.System.Path != "" || c.User.Path != "" {
		t.Errorf("neither exists: %+v, %v", c, err)
	}
	if err := os.WriteFile(user, []byte("[egress]\nallow = ['a.org']"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := load(system, user); err != nil || c.User.Path != user || len(c.User.Egress.Allow) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(system, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(system, user); err == nil || !strings.Contains(err.Error(), system) {
		t.Errorf("too large: %v", err)
	}
	if _, err := load(dir, user); err == nil {
		t.Error("a directory was read")
	}
}

func TestUserPath(t *testing.T) {
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/home/u", "/x/cpc/config.toml"}, {"", "/home/u", "/home/u/.config/cpc/config.toml"}, {"", "", ""},
	} {
		got, err := userPath(func(name string) string { return map[string]string{"XDG_CONFIG_HOME": c.xdg, "HOME": c.home}[name] })
		if err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	if _, err := userPath(func(string) string { return "relative" }); err == nil {
		t.Error("a relative directory was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[egress]\nallow = ['@debian']\n[network]\nhost-ca = true")
	f.Fuzz(func(t *testing.T, text string) {
		if file, err := Parse(text); err == nil && file.Path != "" {
			t.Error("a file names its own path")
		}
	})
}

// TestNoPipe: a configuration is read by each command, so it is a file; and a pipe,
// which has no writer, is not taken for an empty one.
func TestNoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := readFile(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := readFile(os.DevNull); err != nil || f.Egress.Allow != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

// A file decides what sandboxes may reach: another user's does not.
func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("[egress]\nallow = [\"example.com\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := readFile(path); err != nil || len(f.Egress.Allow) != 1 {
		t.Errorf("one's own: %+v, %v", f, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to give the file away")
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "uid 12345") {
		t.Errorf("another user's: %v", err)
	}
}

func TestCacheSize(t *testing.T) {
	for text, want := range map[string]int64{"": 100, "cache-size = '15%'": 150, "cache-size = '2kB'": 2000, "cache-size = 'unlimited'": 0} {
		f, err := Parse("[build]\n" + text)
		if got := f.Build.CacheSize.Of(1000); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
