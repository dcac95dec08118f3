// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func host(t *testing.T, s string) Host {
	t.Helper()
	h, err := ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func make1(t *testing.T, rules ...string) *Policy {
	t.Helper()
	var allow, deny []string
	for _, r := range rules {
		if d, ok := strings.CutPrefix(r, "!"); ok {
			deny = append(deny, d)
		} else {
			allow = append(allow, r)
		}
	}
	p, err := New(allow, deny)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseRule(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM":            "example.com:80,443",
		"example.com:443,80,443": "example.com:80,443",
		"example.com:22/tcp":     "example.com:22",
		"example.com:8443/raw":   "example.com:8443/raw",
		"example.com:9000/tls":   "example.com:9000/tls",
		"*.Example.com:443":      "*.example.com:443",
		"bücher.example:1":       "xn--bcher-kva.example:1",
		"10.0.0.0/8:5432":        "10.0.0.0/8:5432",
		"10.0.0.0/8":             "10.0.0.0/8:80,443",
		"0x7f.1:99":              "127.0.0.1:99",
		"[fd00::]/8":             "",
		"[fd00::/8]:5432/tcp":    "[fd00::/8]:5432",
		"fd00::/8":               "[fd00::/8]:80,443",
		"::1":                    "[::1]:80,443",
		"[::1]:22":               "[::1]:22",
		"[::ffff:1.2.3.4]:22":    "1.2.3.4:22",
		"*.github.io":            "*.github.io:80,443",
		"*":                      "",
		"*.com":                  "",
		"*.co.uk":                "",
		"a.*.com":                "",
		"*example.com":           "",
		"*.*.example.com":        "",
		"*.10.0.0.1":             "",
		"10.0.0.1/8":             "",
		"::ffff:1.2.3.4/120":     "",
		"example.com:":           "",
		"example.com:0":          "",
		"example.com:65536":      "",
		"example.com:+1":         "",
		"example.com:80,":        "",
		"example.com:53/udp":     "",
		"example.com/sctp":       "",
		"example.com/":           "",
		"https://example.com":    "",
		"10.0.0.1:443/tls":       "",
		"":                       "",
		":80":                    "",
		"a b:80":                 "",
	} {
		r, err := ParseRule(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParseRule(%q) = %s, want an error", in, r)
			}
			continue
		}
		if err != nil || r.String() != want {
			t.Errorf("ParseRule(%q) = %s, %v; want %s", in, r, err, want)
		}
	}
}

func TestDecide(t *testing.T) {
	p := make1(t, "deb.test:80", "*.cdn.test:443", "special.cdn.test:443/raw", "!evil.cdn.test:443", "10.1.0.0/16:5432",
		"!10.1.9.0/24:5432", "db.test:5432", "odd.test:9/tls")
	for _, c := range []struct {
		host    string
		port    uint16
		rule    string
		allowed bool
		proto   Proto
	}{
		{"deb.test", 80, "deb.test:80", true, HTTP},
		{"deb.test", 443, "", false, ""},
		{"x.deb.test", 80, "", false, ""},
		{"a.cdn.test", 443, "*.cdn.test:443", true, TLS},
		{"a.b.cdn.test", 443, "*.cdn.test:443", true, TLS},
		{"cdn.test", 443, "", false, ""},
		{"acdn.test", 443, "", false, ""},
		{"special.cdn.test", 443, "special.cdn.test:443/raw", true, Raw},
		{"evil.cdn.test", 443, "evil.cdn.test:443", false, ""},
		{"10.1.2.3", 5432, "10.1.0.0/16:5432", true, Raw},
		{"10.1.9.3", 5432, "10.1.9.0/24:5432", false, ""},
		{"10.2.2.3", 5432, "", false, ""},
		{"db.test", 5432, "db.test:5432", true, Raw},
		{"odd.test", 9, "odd.test:9/tls", true, TLS},
	} {
		d := p.Decide(host(t, c.host), c.port)
		if d.Allowed != c.allowed || d.Rule != c.rule || d.Proto != c.proto || d.Version != 1 {
			t.Errorf("%s:%d: %+v", c.host, c.port, d)
		}
		if d.Allowed == (d.Reason != "") {
			t.Errorf("%s:%d: reason %q", c.host, c.port, d.Reason)
		}
	}
	if p.Knows("evil.cdn.test") || !p.Knows("good.cdn.test") || p.Knows("other.test") {
		t.Error("Knows disagrees with Decide")
	}
}

func TestVersions(t *testing.T) {
	one := make1(t, "a.test:1")
	two, err := one.With([]string{"b.test:1", "a.test:1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	three, err := two.Without("A.test:1/tcp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := three.Without("a.test:1"); err == nil {
		t.Error("a rule was removed twice")
	}
	for i, p := range []*Policy{one, two, three} {
		if p.Version() != i+1 {
			t.Errorf("version %d, want %d", p.Version(), i+1)
		}
	}
	if !one.Knows("a.test") || one.Knows("b.test") || len(two.Allow()) != 2 || three.Knows("a.test") {
		t.Error("a version changed, or the next one has other rules than asked for")
	}
}

// TestDeny: a deny rule without ports denies all of them, and ranges hold for
// the addresses that names lead to.
func TestDeny(t *testing.T) {
	p := make1(t, "*.test:22,443", "!evil.test", "!b.test:22", "!9.0.0.0/8")
	for text, want := range map[string]bool{"evil.test": false, "a.test": true, "b.test": false} {
		if d := p.Decide(host(t, text), 22); d.Allowed != want {
			t.Errorf("%s: %+v", text, d)
		}
	}
	if !p.Decide(host(t, "b.test"), 443).Allowed || p.Knows("evil.test") {
		t.Error("a deny rule denies another port than it names, or not every port")
	}
	addr := netip.MustParseAddr("9.1.1.1")
	if !p.Denies(addr, 1) || p.Denies(netip.MustParseAddr("8.1.1.1"), 1) || !make1(t, "*.test").Within(p).Denies(addr, 1) {
		t.Error("address ranges")
	}
	// A public suffix can be denied, if not allowed.
	wide, err := p.With(nil, []string{"*.com"})
	if err != nil || wide.Decide(host(t, "a.com"), 443).Allowed {
		t.Errorf("%v", err)
	}
	if wide, err = wide.Without("*.com"); err != nil || len(wide.Deny()) != 3 {
		t.Errorf("%v, %v", wide, err)
	}
	next, err := p.Without("evil.test")
	if err != nil || !next.Knows("evil.test") || len(next.Deny()) != 2 {
		t.Errorf("%v, %v", next, err)
	}
}

func TestWithin(t *testing.T) {
	user := make1(t, "*.corp.test:443,22", "out.test:443", "x.test:443/raw", "10.0.0.0/8:5432")
	limit := make1(t, "git.corp.test:443", "x.test:443", "10.1.0.0/16:5432")
	p := user.Within(limit)
	for text, want := range map[string]bool{"git.corp.test": true, "www.corp.test": false, "out.test": false, "10.1.1.1": false} {
		if d := p.Decide(host(t, text), 443); d.Allowed != want {
			t.Errorf("%s: %+v", text, d)
		}
	}
	if d := p.Decide(host(t, "git.corp.test"), 22); d.Allowed || d.Reason != ReasonLimit {
		t.Errorf("port outside of the limit: %+v", d)
	}
	if d := p.Decide(host(t, "x.test"), 443); d.Proto != TLS {
		t.Errorf("the limit's check was dropped: %+v", d)
	}
	if got := p.Ports(host(t, "git.corp.test")); !slices.Equal(got, []uint16{443}) {
		t.Errorf("ports %v", got)
	}
	more, err := p.With([]string{"out.test:1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if more.Knows("out.test") {
		t.Error("a rule that was added later escapes the limit")
	}
	block := netip.MustParsePrefix("10.0.0.0/8")
	if !p.Grants(netip.MustParseAddr("10.1.0.1"), 5432, block) || p.Grants(netip.MustParseAddr("10.2.0.1"), 5432, block) {
		t.Error("grant of a private address against the limit")
	}
}

func TestGrants(t *testing.T) {
	p := make1(t, "0.0.0.0/0:80", "169.254.0.0/16:81", "169.254.169.254:82")
	private, one := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("169.254.169.254/32")
	for _, c := range []struct {
		addr  string
		port  uint16
		block netip.Prefix
		want  bool
	}{
		{"10.0.0.1", 80, private, false},
		{"169.254.169.254", 80, one, false},
		{"169.254.169.254", 81, one, false},
		{"169.254.169.254", 82, one, true},
		{"169.254.1.1", 81, netip.MustParsePrefix("169.254.0.0/16"), true},
	} {
		if got := p.Grants(netip.MustParseAddr(c.addr), c.port, c.block); got != c.want {
			t.Errorf("%s:%d: %v", c.addr, c.port, got)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, p := range Presets() {
		rules, err := New([]string{p.Name}, nil)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		if p.About == "" || !strings.HasPrefix(p.Source, "http") && p.Name != "@docs" {
			t.Errorf("%s: says not what it is, or where that is documented", p.Name)
		}
		for _, r := range rules.Allow() {
			if r.Wildcard || r.Prefix.IsValid() || r.Preset != p.Name {
				t.Errorf("%s: %s", p.Name, r)
			}
		}
	}
	d := Default()
	for _, name := range []string{"deb.debian.org", "registry.npmjs.org", "pypi.org", "proxy.golang.org", "docs.python.org"} {
		if !d.Decide(Host{Name: name}, 443).Allowed {
			t.Errorf("the default does not allow %s", name)
		}
	}
	if d.Knows("github.com") {
		t.Error("the default allows a place where anybody can put data")
	}
	if _, err := New([]string{"@nonesuch"}, nil); !errors.Is(err, ErrUnknownPreset) || !strings.Contains(err.Error(), "@debian") {
		t.Errorf("unknown preset: %v", err)
	}
}

func TestReadFile(t *testing.T) {
	f, err := ReadFile(strings.NewReader("allow = [\"@npm\", \"a.test:1\"]\ndeny = [\"b.test\"]\nlimit = true\n"))
	if err != nil || !f.Limit || len(f.Allow) != 2 || len(f.Deny) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"alow = []", "allow = [1]", "allow = [\"a b\"]", "[x]\ny = 1", "allow = \"a.test\"", "allow", strings.Repeat("#", maxFile+1)} {
		if _, err := ReadFile(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

// FuzzRule: a rule reads back as itself, and decides for its own host.
func FuzzRule(f *testing.F) {
	for _, s := range []string{"a.test:1,2/tls", "*.a.test", "10.0.0.0/8:1", "[fd00::/8]:5/tcp", "0x7f.1", "bücher.de:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q: %q again is %q, %v", s, r, again, err)
		}
		h := Host{Name: r.Name}
		switch {
		case r.Prefix.IsValid():
			h = Host{Addr: r.Prefix.Addr()}
		case r.Wildcard:
			h.Name = "x." + r.Name
		}
		p := &Policy{allow: []Rule{r}}
		if !p.Decide(h, r.Ports[0]).Allowed {
			t.Fatalf("%q does not allow %s:%d", s, h, r.Ports[0])
		}
	})
}

// FuzzFile: no file makes a policy that names every host.
func FuzzFile(f *testing.F) {
	f.Add("allow = [\"@npm\"]")
	f.Add("deny = [\"a.test:1\"]\nlimit = true")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = ReadFile(strings.NewReader(s)) })
}
