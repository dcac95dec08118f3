// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
)

// TestCompose: who says what, and who has the last word.
func TestCompose(t *testing.T) {
	list := func(rules ...string) []string { return append([]string{}, rules...) }
	for name, c := range map[string]struct {
		s       Sources
		yes, no string // hosts, port 443
		note    string
	}{
		"nobody says anything": {Sources{}, "pypi.org registry.npmjs.org", "example.org github.com", ""},
		"the flags say it all": {Sources{Given: File{Allow: list("example.org")}}, "example.org", "pypi.org", ""},
		"and can add to the default": {
			Sources{Given: File{Allow: list("@default", "example.org")}}, "example.org pypi.org", "github.com", "",
		},
		"a deny rule alone leaves the default": {
			Sources{Given: File{Deny: list("pypi.org")}}, "registry.npmjs.org", "pypi.org", "",
		},
		"the user's file goes before the administrator's": {
			Sources{System: File{Allow: list("a.org")}, User: File{Allow: list("b.org")}}, "b.org", "a.org pypi.org", "",
		},
		"the administrator's before the presets": {Sources{System: File{Allow: list("a.org")}}, "a.org", "pypi.org", ""},
		"an empty list is nothing":               {Sources{User: File{Allow: list()}}, "", "pypi.org", ""},
		"every deny rule holds": {
			Sources{
				System: File{Deny: list("a.org")}, User: File{Deny: list("b.org")}, Given: File{Allow: list("a.org", "b.org", "c.org")},
			}, "c.org", "a.org b.org", "a.org:80,443 has no effect: the deny rule a.org wins\nb.org:80,443 has",
		},
		"a limit narrows flags": {
			Sources{System: File{Allow: list("*.corp.example"), Limit: true}, Given: File{Allow: list("git.corp.example", "evil.org")}},
			"git.corp.example", "evil.org wiki.corp.example", "evil.org:80,443 has no effect",
		},
		"a limit narrows the user's file": {
			Sources{System: File{Allow: list("a.org"), Limit: true}, User: File{Allow: list("b.org")}}, "", "a.org b.org", "b.org:80,443 has no effect",
		},
		"a limit without rules is the default": {
			Sources{System: File{Limit: true}, Given: File{Allow: list("pypi.org", "b.org")}}, "pypi.org", "b.org", "b.org",
		},
		"the user's own limit": {
			Sources{User: File{Allow: list("a.org"), Limit: true}, Given: File{Allow: list("a.org", "b.org")}}, "a.org", "b.org", "b.org",
		},
		"a label narrows": {Sources{Label: "@pypi"}, "pypi.org", "registry.npmjs.org", ""},
		"a label does not add": {
			Sources{Label: " @pypi\n evil.org "}, "pypi.org", "evil.org", "evil.org:80,443 has no effect",
		},
		"a label within the user's rules": {
			Sources{Label: "a.org pypi.org", User: File{Allow: list("a.org")}}, "a.org", "pypi.org", "pypi.org",
		},
		"flags go before a label":          {Sources{Label: "@pypi", Given: File{Allow: list("a.org")}}, "a.org", "pypi.org", ""},
		"a label that is none is no label": {Sources{Label: "not/a rule"}, "pypi.org registry.npmjs.org", "example.org", "is ignored"},
		"nor is a long one":                {Sources{Label: strings.Repeat("a.org ", maxSuggestion)}, "pypi.org", "a.org", "is ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, notes, err := c.s.Compose()
			if err != nil {
				t.Fatal(err)
			}
			p, err := spec.Policy()
			if err != nil || p.Version() != 1 {
				t.Fatalf("version %d, %v", p.Version(), err)
			}
			for host := range strings.FieldsSeq(c.yes) {
				if d := p.Decide(Host{Name: host}, 443); !d.Allowed {
					t.Errorf("%s: %+v", host, d)
				}
			}
			for host := range strings.FieldsSeq(c.no) {
				if d := p.Decide(Host{Name: host}, 443); d.Allowed {
					t.Errorf("%s: %+v", host, d)
				}
			}
			if all := strings.Join(notes, "\n"); (c.note == "") != (all == "") || !strings.Contains(all, c.note) {
				t.Errorf("notes %q, want %q", all, c.note)
			}
		})
	}
	if _, _, err := (Sources{User: File{Allow: []string{"@nothing"}}}).Compose(); err == nil {
		t.Error("a preset that there is none of was taken")
	}
}
