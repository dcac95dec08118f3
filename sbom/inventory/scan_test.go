// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sbom"
	"github.com/claude-pocket-console/cpc/sbom/inventory"
)

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func scan(t *testing.T, dir string) sbom.Inventory {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	inv, err := inventory.Scan(t.Context(), root.FS())
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

const (
	debian = "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n"
	alpine = "ID=alpine\nVERSION_ID=3.22.1\n"
)

// everything has a package of each kind that text can make.
func everything() map[string]string {
	return map[string]string{
		"etc/os-release": debian,
		"var/lib/dpkg/status": `Package: libssl3t64
Status: install ok installed
Architecture: amd64
Source: openssl (3.5.1-1)
Version: 3.5.1-1+b2

Package: gone
Status: deinstall ok config-files
Version: 1
`,
		"usr/lib/python3/dist-packages/Foo_Bar-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.2\n\n",
		"usr/lib/node_modules/left-pad/package.json":                   `{"name":"left-pad","version":"1.3.0","license":"WTFPL"}`,
		"opt/left-pad/package.json":                                    `{"name":"left-pad","version":"1.3.0","license":"WTFPL"}`,
	}
}

func TestKinds(t *testing.T) {
	inv := scan(t, tree(t, everything()))
	want := map[string]sbom.Package{
		"pkg:deb/debian/libssl3t64@3.5.1-1%2Bb2?arch=amd64&distro=trixie&source=openssl&sourceversion=3.5.1-1": {
			Name: "libssl3t64", Version: "3.5.1-1+b2", Ecosystem: "Debian:13", AdvisoryName: "openssl", AdvisoryVersion: "3.5.1-1",
		},
		"pkg:pypi/foo-bar@1.2":   {Name: "Foo_Bar", Version: "1.2", Ecosystem: "PyPI", AdvisoryName: "foo-bar", AdvisoryVersion: "1.2"},
		"pkg:npm/left-pad@1.3.0": {Name: "left-pad", Version: "1.3.0", Ecosystem: "npm", AdvisoryName: "left-pad", AdvisoryVersion: "1.3.0"},
	}
	for _, p := range inv.Packages {
		w, ok := want[p.PURL]
		if !ok {
			t.Errorf("unexpected %s (%s %s)", p.PURL, p.Name, p.Version)
			continue
		}
		delete(want, p.PURL)
		if p.Name != w.Name || p.Version != w.Version || p.Ecosystem != w.Ecosystem || p.AdvisoryName != w.AdvisoryName || p.AdvisoryVersion != w.AdvisoryVersion {
			t.Errorf("%s: got %+v, want %+v", p.PURL, p, w)
		}
		if p.Name == "left-pad" && strings.Join(p.Locations, " ") != "opt/left-pad/package.json usr/lib/node_modules/left-pad/package.json" {
			t.Errorf("left-pad is at %q", p.Locations)
		}
	}
	for purl := range want {
		t.Errorf("not found: %s", purl)
	}
}

func TestAlpine(t *testing.T) {
	inv := scan(t, tree(t, map[string]string{
		"etc/os-release":       alpine,
		"lib/apk/db/installed": "P:libcrypto3\nV:3.5.1-r0\nA:x86_64\no:openssl\nL:Apache-2.0\n\n",
	}))
	if len(inv.Packages) != 1 {
		t.Fatalf("packages %+v", inv.Packages)
	}
	if p := inv.Packages[0]; p.Name != "libcrypto3" || p.Ecosystem != "Alpine:v3.22" || p.AdvisoryName != "openssl" {
		t.Errorf("got %+v", p)
	}
}

// buildProgram builds cpc-scan and returns its path.
func buildProgram(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "cpc-scan")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/cpc-scan")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestGoProgram finds the modules of a real program.
func TestGoProgram(t *testing.T) {
	data, err := os.ReadFile(buildProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, p := range scan(t, tree(t, map[string]string{"usr/bin/prog": string(data)})).Packages {
		found[p.AdvisoryName] = p.Ecosystem
	}
	for _, name := range []string{"stdlib", "github.com/google/osv-scalibr"} {
		if found[name] != "Go" {
			t.Errorf("%s is not found as a Go package; found: %v", name, found)
		}
	}
}

// TestHostileFiles: what an image can put where a package manager's files are.
func TestHostileFiles(t *testing.T) {
	dir := tree(t, map[string]string{
		"a/package.json":                    `{"name":"ok","version":"1.0.0"}`,
		"b/package.json":                    strings.Repeat(`[`, 100_000),
		"c/package.json":                    `{"name":1,"version":{}}`,
		"usr/bin/prog":                      "\x7fELF" + strings.Repeat("\xff", 4096),
		"x/EGG-INFO/PKG-INFO":               "Name: \x00\nVersion: \n",
		"y/z.egg":                           "PK\x03\x04 not a zip",
		"var/lib/dpkg/status.d/" + "broken": "Package: p\nVersion",
	})
	outside := tree(t, map[string]string{"package.json": `{"name":"secret","version":"6.6.6"}`})
	for name, target := range map[string]string{"link": outside, "package.json": filepath.Join(outside, "package.json"), "etc": "/etc"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "a/fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "pipe"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe/package.json"), 0o666); err != nil {
		t.Fatal(err)
	}
	inv := scan(t, dir)
	ok := false
	for _, p := range inv.Packages {
		ok = ok || p.Name == "ok"
		if p.Name == "secret" {
			t.Error("a symbolic link led out of the image")
		}
	}
	if !ok {
		t.Errorf("the sound file was not read: %+v", inv)
	}
}

// An archive's packages are all found, whatever is wrong with one of them; only
// what says something and cannot be read is told of.
func TestWheels(t *testing.T) {
	var wheel bytes.Buffer
	z := zip.NewWriter(&wheel)
	for _, f := range [][2]string{
		{"vendor/empty.egg-info/PKG-INFO", ""},
		{"vendor/nameless.dist-info/METADATA", "Metadata-Version: 2.1\nVersion: 1\n"},
		{"vendor/inner-2.dist-info/METADATA", "Metadata-Version: 2.1\nName: inner\nVersion: 2\n\n" + strings.Repeat("x", 3<<20)},
		{"vendor/nested.whl", "no archive"},
		{"outer-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: outer\nVersion: 1\n"},
	} {
		w, err := z.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	inv := scan(t, tree(t, map[string]string{
		"usr/share/python-wheels/outer.whl": wheel.String(),
		"opt/lib/empty.egg-info/PKG-INFO":   "",
		"opt/bad.whl":                       "PK",
	}))
	var names []string
	for _, p := range inv.Packages {
		names = append(names, p.Name+" "+p.Version)
	}
	if got := strings.Join(names, ","); got != "inner 2,outer 1" {
		t.Errorf("found %s", got)
	}
	if len(inv.Notes) != 2 || !strings.Contains(inv.Notes[0], "opt/bad.whl") || !strings.Contains(inv.Notes[1], "nameless") {
		t.Errorf("notes %q", inv.Notes)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inventory.Scan(ctx, os.DirFS(t.TempDir())); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func about() sbom.Subject {
	return sbom.Subject{
		Name: "example.org/x:1", Digest: "sha256:" + strings.Repeat("ab", 32), Created: time.Unix(1_700_000_000, 0), Tool: "cpc-test",
	}
}

// TestDocuments are sound JSON with every package, and the same each time.
func TestDocuments(t *testing.T) {
	dir := tree(t, everything())
	for name, write := range map[string]func(sbom.Inventory, sbom.Subject) ([]byte, error){"spdx": inventory.SPDX, "cyclonedx": inventory.CycloneDX} {
		t.Run(name, func(t *testing.T) {
			first, err := write(scan(t, dir), about())
			if err != nil {
				t.Fatal(err)
			}
			again, err := write(scan(t, dir), about())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, again) {
				t.Error("two documents of the same image differ")
			}
			var doc struct {
				SPDXVersion string `json:"spdxVersion"`
				BOMFormat   string `json:"bomFormat"`
				SpecVersion string `json:"specVersion"`
				Packages    []struct{ Name string }
				Components  []struct{ Name, PURL string }
			}
			if err := json.Unmarshal(first, &doc); err != nil {
				t.Fatal(err)
			}
			if name == "spdx" && (doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) != 4) {
				t.Errorf("SPDX: %+v", doc)
			}
			if name == "cyclonedx" && (doc.BOMFormat != "CycloneDX" || doc.SpecVersion != "1.6" || len(doc.Components) != 3) {
				t.Errorf("CycloneDX: %+v", doc)
			}
		})
	}
}

// TestProgramIsConfined drives cpc-scan as cpc does, and shows that it can
// neither write nor read beside what it was given.
func TestProgramIsConfined(t *testing.T) {
	bin := buildProgram(t)
	t.Setenv("PATH", filepath.Dir(bin)+":"+os.Getenv("PATH"))
	program, err := sbom.Find()
	if err != nil {
		t.Fatal(err)
	}
	r, err := program.Inventory(t.Context(), tree(t, everything()), about())
	if err != nil || len(r.Inventory.Packages) != 3 || len(r.SPDX) == 0 || len(r.CycloneDX) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	// A database that is a link to one outside of what was named.
	dir, outside := t.TempDir(), filepath.Join(tree(t, map[string]string{"secret.json": `{"id":"X"}`}), "secret.json")
	if err := os.Symlink(outside, filepath.Join(dir, "x.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := program.Match(t.Context(), nil, []string{dir}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a file outside of the database was read: %v", err)
	}
}
