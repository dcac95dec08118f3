// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"strings"
	"testing"
)

// TestLive: changes of a policy in force, each on the one before.
func TestLive(t *testing.T) {
	p, err := New([]string{"@pypi", "a.org"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(name string) bool { return p.Decide(Host{Name: name}, 443).Allowed }
	for i, c := range []struct {
		change  func([]string) (*Policy, error)
		rules   string
		yes, no string
		same    bool
	}{
		{func(r []string) (*Policy, error) { return p.Denying(r) }, "a.org", "pypi.org", "a.org", false},
		{func(r []string) (*Policy, error) { return p.Denying(r) }, "a.org", "pypi.org", "a.org", true},
		{func(r []string) (*Policy, error) { return p.Without(r...) }, "a.org", "pypi.org", "a.org", false},
		{func(r []string) (*Policy, error) { return p.Allowing(r) }, "a.org", "pypi.org a.org", "b.org", false},
		{func(r []string) (*Policy, error) { return p.Allowing(r) }, "a.org @pypi", "pypi.org a.org", "b.org", true},
		{func(r []string) (*Policy, error) { return p.Denying(r) }, "@pypi b.org", "a.org", "pypi.org b.org", false},
		{func(r []string) (*Policy, error) { return p.Allowing(r) }, "b.org:443", "a.org", "b.org", false}, // b.org denies every port
		{func(r []string) (*Policy, error) { return p.Allowing(r) }, "b.org", "a.org b.org", "pypi.org", false},
		{func(r []string) (*Policy, error) { return p.Allowing(r) }, "@pypi", "pypi.org a.org b.org", "c.org", false},
	} {
		next, err := c.change(strings.Fields(c.rules))
		if err != nil || (next == nil) != c.same {
			t.Fatalf("%d: %v, %v", i, next, err)
		}
		if next != nil {
			if next.Version() != p.Version()+1 {
				t.Errorf("%d: version %d after %d", i, next.Version(), p.Version())
			}
			p = next
		}
		for host := range strings.FieldsSeq(c.yes) {
			if !allowed(host) {
				t.Errorf("%d: %s is denied", i, host)
			}
		}
		for host := range strings.FieldsSeq(c.no) {
			if allowed(host) {
				t.Errorf("%d: %s is allowed", i, host)
			}
		}
	}
	for _, bad := range []func([]string) (*Policy, error){p.Allowing, p.Denying} {
		if _, err := bad([]string{"a b"}); err == nil {
			t.Error("a rule that is none was taken")
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"Example.org":                      "example.org 443",
		"example.org:22":                   "example.org 22",
		"https://example.org/x?y":          "example.org 443",
		"http://user:word@example.org/a@b": "example.org 80",
		"HTTP://example.org:8080":          "example.org 8080",
		"ssh://git@example.org:22/x":       "example.org 22",
		"[2001:db8::1]:80":                 "2001:db8::1 80",
		"2001:db8::1":                      "2001:db8::1 443",
		"0x7f.1":                           "127.0.0.1 443",
		"":                                 "", "a b": "", "a.org:0": "", "a.org:1,2": "", "https://": "", "a\x00.org": "",
	} {
		host, port, err := ParseTarget(text)
		got := host + " " + strconv.Itoa(int(port))
		if want == "" {
			if err == nil {
				t.Errorf("%q: %s", text, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"example.org:22", "https://u@example.org:1/x", "[::1]:80", "@:", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := ParseTarget(s)
		if err != nil {
			return
		}
		if h, err := ParseHost(host); err != nil || h.String() != host || port == 0 {
			t.Errorf("%q: %q %d is not canonical: %v", s, host, port, err)
		}
	})
}
