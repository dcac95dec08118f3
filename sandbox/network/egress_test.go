// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// TestLimit: whatever a user says where, the administrator's limit narrows it.
func TestLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "egress.toml")
	if err := os.WriteFile(file, []byte("allow = ['in.corp.example', 'out.example']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	system := config.File{Path: "system", Egress: config.Egress{Allow: []string{"*.corp.example"}, Deny: []string{"no.corp.example"}, Limit: true}}
	both := []string{"in.corp.example", "no.corp.example", "out.example"}
	for name, c := range map[string]struct {
		f     Egress
		label string
	}{
		"--egress":               {Egress{Rules: both}, ""},
		"--egress-file":          {Egress{Files: []string{file}}, ""},
		"label":                  {Egress{}, "in.corp.example no.corp.example out.example"},
		"user's file":            {Egress{Config: config.Config{User: config.File{Egress: config.Egress{Allow: both}}}}, ""},
		"user's limit":           {Egress{Config: config.Config{User: config.File{Egress: config.Egress{Allow: both, Limit: true}}}}, ""},
		"user's file, for build": {Egress{Build: true, Config: config.Config{User: config.File{Build: config.Build{Egress: config.Rules{Allow: both}}}}}, ""},
		"--egress of build":      {Egress{Build: true, Rules: both}, ""},
		"nobody":                 {Egress{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.Config.System = system
			spec, err := c.f.Policy(c.label)
			if err != nil {
				t.Fatal(err)
			}
			p, err := spec.Policy()
			if err != nil {
				t.Fatal(err)
			}
			// What cpc net allow says later, too.
			more, err := p.Allowing(append(both, "later.example"))
			if err != nil || more == nil {
				t.Fatalf("%v, %v", more, err)
			}
			for _, p := range []*policy.Policy{p, more} {
				for host, want := range map[string]bool{"in.corp.example": true, "no.corp.example": false, "out.example": false, "later.example": false, "pypi.org": false} {
					if d := p.Decide(policy.Host{Name: host}, 443); d.Allowed != want {
						t.Errorf("version %d: %s: %+v", p.Version(), host, d)
					}
				}
			}
		})
	}
}

// TestBuildRules: a build has rules of its own, where a file has some.
func TestBuildRules(t *testing.T) {
	user := config.File{
		Egress: config.Egress{Allow: []string{"run.example"}, Deny: []string{"never.example"}},
		Build:  config.Build{Egress: config.Rules{Allow: []string{"build.example", "never.example", "not.example"}, Deny: []string{"not.example"}}},
	}
	for _, c := range []struct {
		f    Egress
		want string
	}{
		{Egress{}, "run.example"},
		{Egress{Build: true}, "build.example"},
		{Egress{Build: true, Rules: []string{"run.example", "not.example"}}, "run.example"},
	} {
		c.f.Config.User = user
		spec, err := c.f.Policy("")
		if err != nil {
			t.Fatal(err)
		}
		p, err := spec.Policy()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, host := range []string{"run.example", "build.example", "never.example", "not.example"} {
			if p.Decide(policy.Host{Name: host}, 443).Allowed {
				got = append(got, host)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("build %v, %q: %q, want %q", c.f.Build, c.f.Rules, got, c.want)
		}
	}
	bad := Egress{Build: true, Config: config.Config{User: config.File{Path: "mine", Build: config.Build{Egress: config.Rules{Allow: []string{"a b"}}}}}}
	if _, err := bad.Policy(""); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("a rule that is none: %v", err)
	}
}

// TestAsked: the flags of a hint say what holds without it.
func TestAsked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "my rules.toml")
	if err := os.WriteFile(file, []byte("allow = ['in.example']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		f     Egress
		label string
	}{
		"--egress @default":                     {Egress{}, ""},
		"--egress a.test --egress '*.b.test:1'": {Egress{Rules: []string{"a.test", "*.b.test:1"}}, ""},
		"--egress-file '" + file + "'":          {Egress{Files: []string{file}}, ""},
		"--egress l.test":                       {Egress{}, "l.test"},
		"--egress u.test":                       {Egress{Config: config.Config{User: config.File{Egress: config.Egress{Allow: []string{"u.test"}}}}}, ""},
	} {
		spec, err := c.f.Policy(c.label)
		if got := strings.Join(c.f.Asked(spec), " "); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestNoteHosts: a host of --add-host whose address no rule names is told of, one
// that can be reached is not.
func TestNoteHosts(t *testing.T) {
	for text, noted := range map[string]bool{"a.test:192.0.2.1": true, "a.test:::ffff:192.0.2.1": true, "a.test:192.0.2.7": false, "a.test:127.0.0.1": false} {
		h, err := netns.ParseAddHost(text)
		if err != nil {
			t.Fatal(err)
		}
		f := Egress{}
		f.NoteHosts(Options{Policy: policy.Spec{Allow: []string{"192.0.2.7:25"}}, Hosts: []netns.AddHost{h}})
		if (len(f.notes) > 0) != noted || noted && !strings.Contains(f.notes[0], "--egress 192.0.2.1:443") {
			t.Errorf("%s: %q", text, f.notes)
		}
	}
}
