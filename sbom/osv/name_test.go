// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"fmt"
	"testing"

	"github.com/claude-pocket-console/cpc/sbom"
)

// An advisory holds for a package however its ecosystem lets people write the name,
// and for no other.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		ecosystem, pkg, advisory string
		hit                      bool
	}{
		{"PyPI", "pyyaml", "PyYAML", true},
		{"PyPI", "PyYAML", "pyyaml", true},
		{"PyPI", "typing_extensions", "Typing_Extensions", true},
		{"PyPI", "typing-extensions", "Typing__.Extensions", true},
		{"PyPI", "zope.interface", "zope-interface", true},
		{"PyPI", "ruamel.yaml.clib", "ruamel-yaml-clib", true},
		{"PyPI", "yaml", "PyYAML", false},
		{"npm", "@scope/name", "@scope/name", true},
		{"npm", "@scope/name", "%40scope/name", true},
		{"npm", "@scope/name", "@scope%2Fname", true},
		{"npm", "JSONStream", "jsonstream", false}, // two packages
		{"npm", "JSONStream", "JSONStream", true},
		{"npm", "name", "@scope/name", false},
		{"npm", "a-b", "a_b", false},
		{"Go", "github.com/BurntSushi/toml", "github.com/BurntSushi/toml", true},
		{"Go", "github.com/BurntSushi/toml", "github.com/!burnt!sushi/toml", true},
		{"Go", "github.com/x/y/v2", "github.com/x/y", false},
		{"Go", "stdlib", "stdlib", true},
		{"crates.io", "serde_json", "serde-json", true},
		{"crates.io", "Inflector", "inflector", true},
		{"crates.io", "serde", "serde_json", false},
		{"Debian:13", "openssl", "openssl", true},
		{"Debian:13", "python3.13", "python3-13", false},
		{"Debian:13", "linux-signed-amd64", "linux", true},
		{"Alpine:v3.22", "openssl", "openssl", true},
	} {
		t.Run(c.ecosystem+" "+c.pkg+" "+c.advisory, func(t *testing.T) {
			m := newMatcher([]sbom.Package{pkg(c.ecosystem, c.pkg, "1.0")})
			r, err := parseRecord(fmt.Appendf(nil, `{"id":"X","affected":[{"package":{"ecosystem":%q,"name":%q},"versions":["1.0"]}]}`, c.ecosystem, c.advisory))
			if err != nil {
				t.Fatal(err)
			}
			m.match(r)
			if hit := len(m.result().Findings) == 1; hit != c.hit {
				t.Errorf("affected: %v, want %v", hit, c.hit)
			}
		})
	}
}

// A name of one ecosystem is none of another's, and releases of Ubuntu are known by
// either name.
func TestEcosystems(t *testing.T) {
	for _, c := range []struct {
		pkg, advisory string
		hit           bool
	}{
		{"PyPI", "npm", false},
		{"Ubuntu:24.04", "Ubuntu:24.04:LTS", true},
		{"Ubuntu:24.04", "Ubuntu:22.04:LTS", false},
		{"Ubuntu:24.04", "Ubuntu:Pro:24.04:LTS", false},
		{"Ubuntu:25.10", "Ubuntu:25.10", true},
		{"Debian:13", "Debian:12", false},
	} {
		m := newMatcher([]sbom.Package{pkg(c.pkg, "p", "1")})
		r, err := parseRecord([]byte(record("X", c.advisory, `"versions":["1"]`)))
		if err != nil {
			t.Fatal(err)
		}
		m.match(r)
		if hit := len(m.result().Findings) == 1; hit != c.hit {
			t.Errorf("%s for %s: %v", c.advisory, c.pkg, hit)
		}
	}
}

func TestSource(t *testing.T) {
	for _, c := range [][4]string{
		{"linux-signed-amd64", "6.1.90+1", "linux", "6.1.90-1"},
		{"linux-signed-amd64", "6.12.43+1~deb13u1", "linux", "6.12.43-1~deb13u1"},
		{"linux-signed-hwe-6.8", "6.8.0-40.40", "linux", "6.8.0-40.40"},
		{"linux", "6.1.90-1", "linux", "6.1.90-1"},
		{"openssl", "3.0.1+dfsg-1", "openssl", "3.0.1+dfsg-1"},
	} {
		if name, version := source(pkg("Debian:13", c[0], c[1])); name != c[2] || version != c[3] {
			t.Errorf("%v: %s %s", c, name, version)
		}
	}
}

// Versions that are the same to their ecosystem are the same in a list.
func TestVersionsOfLists(t *testing.T) {
	for _, c := range []struct {
		ecosystem, version, list string
		hit                      bool
	}{
		{"PyPI", "1.0", `["1.0.0"]`, true},
		{"PyPI", "1.0rc1", `["0.9","1.0.rc1"]`, true},
		{"PyPI", "1.0.1", `["1.0.0"]`, false},
		{"npm", "1.0.0", `["nonsense","1.0.0"]`, true},
	} {
		m := newMatcher([]sbom.Package{pkg(c.ecosystem, "p", c.version)})
		r, err := parseRecord([]byte(record("X", c.ecosystem, `"versions":`+c.list)))
		if err != nil {
			t.Fatal(err)
		}
		m.match(r)
		if hit := len(m.result().Findings) == 1; hit != c.hit {
			t.Errorf("%+v: %v", c, hit)
		}
	}
}
