// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/sbom"
)

func pkg(ecosystem, name, version string) sbom.Package {
	return sbom.Package{Name: name, Version: version, Ecosystem: ecosystem, AdvisoryName: name, AdvisoryVersion: version}
}

// record is an advisory about one package.
func record(id, ecosystem, rest string) string {
	return fmt.Sprintf(`{"id":%q,"affected":[{"package":{"ecosystem":%q,"name":"p"},%s}]}`, id, ecosystem, rest)
}

func ranges(kind string, events ...string) string {
	return fmt.Sprintf(`"ranges":[{"type":%q,"events":[%s]}]`, kind, strings.Join(events, ","))
}

func TestVersions(t *testing.T) {
	from, fixed, last := `{"introduced":"0"}`, `{"fixed":"%s"}`, `{"last_affected":"%s"}`
	for _, c := range []struct {
		name, ecosystem, version, advisory, rest string
		hit                                      bool
		fixed                                    string
	}{
		{"before the fix", "Debian:13", "1:2.0-1", "Debian:13", ranges("ECOSYSTEM", from, fmt.Sprintf(fixed, "1:2.0-1+deb13u1")), true, "1:2.0-1+deb13u1"},
		{"the fix itself", "Debian:13", "1:2.0-1+deb13u1", "Debian:13", ranges("ECOSYSTEM", from, fmt.Sprintf(fixed, "1:2.0-1+deb13u1")), false, ""},
		{"an epoch counts", "Debian:13", "1:1", "Debian:13", ranges("ECOSYSTEM", from, fmt.Sprintf(fixed, "9")), false, ""},
		{"a tilde is before", "Debian:13", "2.0~rc1", "Debian:13", ranges("ECOSYSTEM", from, fmt.Sprintf(fixed, "2.0")), true, "2.0"},
		{"another release", "Debian:13", "1", "Debian:12", ranges("ECOSYSTEM", from), false, ""},
		{"all releases", "Debian:13", "1", "Debian", ranges("ECOSYSTEM", from), true, ""},
		{"another ecosystem", "npm", "1.0.0", "PyPI", ranges("ECOSYSTEM", from), false, ""},
		{"last affected", "npm", "1.2.3", "npm", ranges("SEMVER", from, fmt.Sprintf(last, "1.2.3")), true, ""},
		{"after the last affected", "npm", "1.2.4", "npm", ranges("SEMVER", from, fmt.Sprintf(last, "1.2.3")), false, ""},
		{"before the introduction", "npm", "1.0.0", "npm", ranges("SEMVER", `{"introduced":"2.0.0"}`), false, ""},
		{"events out of order", "npm", "2.5.0", "npm", ranges("SEMVER", `{"fixed":"3.0.0"}`, `{"introduced":"2.0.0"}`, `{"fixed":"1.1.0"}`, from), true, "3.0.0"},
		{"between two ranges", "npm", "1.5.0", "npm", ranges("SEMVER", from, `{"fixed":"1.1.0"}`, `{"introduced":"2.0.0"}`), false, ""},
		{"ten is after nine", "npm", "1.10.0", "npm", ranges("SEMVER", from, `{"fixed":"1.9.0"}`), false, ""},
		{"a prerelease is before", "npm", "1.0.0-rc.1", "npm", ranges("SEMVER", from, `{"fixed":"1.0.0"}`), true, "1.0.0"},
		{"by list", "PyPI", "1.0", "PyPI", `"versions":["0.9","1.0"]`, true, ""},
		{"not in the list", "PyPI", "1.1", "PyPI", `"versions":["0.9","1.0"]`, false, ""},
		{"commits tell nothing", "Go", "1.0.0", "Go", ranges("GIT", from), false, ""},
		{"Go", "Go", "1.2.3", "Go", ranges("SEMVER", from, `{"fixed":"1.2.4"}`), true, "1.2.4"},
		{"Alpine's revisions", "Alpine:v3.22", "3.5.1-r0", "Alpine:v3.22", ranges("ECOSYSTEM", from, `{"fixed":"3.5.1-r1"}`), true, "3.5.1-r1"},
		{"two fixes", "npm", "1.0.0", "npm", ranges("SEMVER", from, `{"fixed":"1.0.1"}`, `{"introduced":"2.0.0"}`, `{"fixed":"2.0.1"}`), true, "1.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMatcher([]sbom.Package{pkg(c.ecosystem, "p", c.version)})
			r, err := parseRecord([]byte(record("ID-1", c.advisory, c.rest)))
			if err != nil {
				t.Fatal(err)
			}
			m.match(r)
			got := m.result()
			if len(got.Problems) > 0 {
				t.Fatalf("problems: %q", got.Problems)
			}
			if hit := len(got.Findings) == 1; hit != c.hit {
				t.Fatalf("affected: %v, want %v", hit, c.hit)
			}
			if c.hit && got.Findings[0].Fixed != c.fixed {
				t.Errorf("fixed in %q, want %q", got.Findings[0].Fixed, c.fixed)
			}
		})
	}
}

func TestWithdrawnIsLeftOut(t *testing.T) {
	m := newMatcher([]sbom.Package{pkg("npm", "p", "1.0.0")})
	r, err := parseRecord([]byte(`{"id":"X","withdrawn":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"p"},"versions":["1.0.0"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.match(r); len(m.result().Findings) != 0 {
		t.Error("a withdrawn advisory holds")
	}
}

func TestSeverity(t *testing.T) {
	const hit = `"package":{"ecosystem":"npm","name":"p"},"versions":["1"]`
	for _, c := range []struct {
		name, json string
		want       sbom.Severity
		score      float64
	}{
		{"3.1", `{"id":"X","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],"affected":[{` + hit + `}]}`, sbom.Critical, 9.8},
		{"3.0", `{"id":"X","severity":[{"type":"CVSS_V3","score":"CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}],"affected":[{` + hit + `}]}`, sbom.Low, 1.8},
		{"4.0", `{"id":"X","severity":[{"type":"CVSS_V4","score":"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}],"affected":[{` + hit + `}]}`, sbom.Critical, 9.3},
		{"2.0", `{"id":"X","severity":[{"type":"CVSS_V2","score":"AV:N/AC:L/Au:N/C:P/I:P/A:P"}],"affected":[{` + hit + `}]}`, sbom.High, 7.5},
		{"the package's own is worse", `{"id":"X","severity":[{"type":"CVSS_V2","score":"AV:N/AC:L/Au:N/C:P/I:P/A:P"}],"affected":[{"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],` + hit + `}]}`, sbom.Critical, 9.8},
		{"GitHub's word", `{"id":"X","database_specific":{"severity":"MODERATE"},"affected":[{` + hit + `}]}`, sbom.Medium, 0},
		{"Debian's word", `{"id":"X","affected":[{"ecosystem_specific":{"urgency":"unimportant"},` + hit + `}]}`, sbom.None, 0},
		{"no word", `{"id":"X","database_specific":{"severity":["odd"]},"affected":[{` + hit + `}]}`, sbom.Unknown, 0},
		{"a bad vector", `{"id":"X","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:Q"}],"affected":[{` + hit + `}]}`, sbom.Unknown, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := parseRecord([]byte(c.json))
			if err != nil {
				t.Fatal(err)
			}
			if got, score := r.severity(r.Affected[0]); got != c.want || score != c.score {
				t.Errorf("got %v %v, want %v %v", got, score, c.want, c.score)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeZip(t *testing.T, path string, files map[string]string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, content := range files {
		e, err := w.Create(name)
		if err == nil {
			_, err = e.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDatabase(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "one.json"), record("ONE", "npm", `"versions":["1"]`))
	write(t, filepath.Join(dir, "list.json"), "["+record("TWO", "npm", `"versions":["1"]`)+"]")
	write(t, filepath.Join(dir, "answer.json"), `{"vulns":[`+record("THREE", "npm", `"versions":["1"]`)+`]}`)
	write(t, filepath.Join(dir, "README"), "not an advisory")
	writeZip(t, filepath.Join(dir, "all.zip"), map[string]string{
		"FOUR.json": record("FOUR", "npm", `"versions":["1"]`), "BAD.json": "{", "x.txt": "no",
	})
	packages := []sbom.Package{pkg("npm", "p", "1"), pkg("Debian:13", "d", "1"), {Name: "of no ecosystem"}}
	got, err := Match(t.Context(), packages, dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range got.Findings {
		ids = append(ids, f.ID)
	}
	if strings.Join(ids, " ") != "FOUR ONE THREE TWO" {
		t.Errorf("findings %q", ids)
	}
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0], "BAD.json") {
		t.Errorf("problems %q, want BAD.json", got.Problems)
	}
	if strings.Join(got.Unchecked, " ") != "Debian" || got.Records != 4 || got.Oldest.IsZero() {
		t.Errorf("unchecked %q, %d records, oldest %v", got.Unchecked, got.Records, got.Oldest)
	}
}

func TestBadDatabases(t *testing.T) {
	dir := t.TempDir()
	if _, err := Match(t.Context(), nil, dir); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty directory: %v", err)
	}
	for name, content := range map[string]string{"x.json": "{}", "y.json": "nonsense", "z.zip": "nonsense", "l.json": "[1]"} {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, content)
		got, err := Match(t.Context(), nil, path)
		if err == nil && len(got.Problems) == 0 {
			t.Errorf("%s %q passes as a database", name, content)
		}
	}
	if _, err := Match(t.Context(), nil, filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzRecord: a record may be nonsense, but never a crash.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(record("X", "npm", ranges("SEMVER", `{"introduced":"0"}`, `{"fixed":"1"}`))))
	f.Add([]byte(`{"id":"X","affected":[{"package":{"ecosystem":"Debian","name":"p"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"1:2~"},{"limit":"*"}]}]}]}`))
	packages := []sbom.Package{pkg("npm", "p", "1.0.0"), pkg("Debian:13", "p", "1:1-1"), pkg("PyPI", "p", "1.0rc1"), pkg("Alpine:v3.22", "p", "1-r0")}
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := split(data)
		if err != nil {
			return
		}
		m := newMatcher(packages)
		for _, raw := range records {
			if r, err := parseRecord(raw); err == nil {
				m.match(r)
			}
		}
		if r := m.result(); len(r.Findings) > len(packages)*len(records) {
			t.Errorf("%d findings of %d records", len(r.Findings), len(records))
		}
	})
}
