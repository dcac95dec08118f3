// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAdvice(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{"127.0.0.1:19001", "is the sandbox itself"},
		{"127.0.0.0/8:80", "is the sandbox itself"},
		{"[::1]:80", "is the sandbox itself"},
		{"0.0.0.0:80", "is the sandbox itself"},
		{"localhost:80", "is the sandbox itself"},
		{"LOCALHOST.", "is the sandbox itself"},
		{"a.localhost:80", "is the sandbox itself"},
		{"*.localhost:80", "is the sandbox itself"},
		{"ip6-localhost", "is the sandbox itself"},
		{"host.docker.internal:80", "unless this host resolves it"},
		{"169.254.170.0/24:80", "want a rule for each one address, such as 169.254.170.0:80"},
		{"0.0.0.0/8:80", "has no effect"},
		{"224.0.0.1:80", "multicast"},
		{"[ff02::1]:80", "multicast"},
		{"198.18.0.0/16:80", "stand for names"},
		{"*.github.io", "lets out to hosts of anybody"},
		{"*.s3.amazonaws.com:443", "lets out to hosts of anybody"},
		{"*.amazonaws.com", "lets out to hosts of anybody"},
		{"*.blob.core.windows.net", "lets out to hosts of anybody"},
		{"*.pages.dev", "lets out to hosts of anybody"},
		{"*.vercel.app:443", "lets out to hosts of anybody"},
		{"storage.googleapis.com", "everybody's data"},
		// What works gives rise to no words.
		{"a.test:80 127.0.0.1:80", ""}, // for a name that resolves to it
		{"10.0.0.0/8:80", ""},
		{"192.168.1.5:80", ""},
		{"169.254.169.254:80", ""},
		{"203.0.113.0/24:80", ""},
		{"[fd00::/8]:80", ""},
		{"0.0.0.0/0:80", ""},
		{"[::/0]:443", ""},
		{"[2000::/3]:443", ""},
		{"me.github.io", ""},
		{"*.me.github.io", ""},
		{"*.example.com", ""},
		{"github.com", ""},
		{"mylocalhost.test", ""},
		{"@default @github", ""},
		{"not a rule", ""},
	} {
		got := strings.Join(Advice(strings.Fields(c.rules)), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.rules, got, c.want)
		}
	}
}

func TestPresetFor(t *testing.T) {
	for host, want := range map[string]string{
		"api.anthropic.com": "@anthropic", "github.com": "@github", "pypi.org": "@pypi", "nobody.example": "", "deb.debian.org": "@debian",
	} {
		if got := PresetFor(Host{Name: host}, 0); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	if got := PresetFor(Host{Name: "api.anthropic.com"}, 22); got != "" {
		t.Errorf("a port that the preset does not have: %q", got)
	}
	if got := PresetFor(Host{Addr: netip.MustParseAddr("192.0.2.1")}, 443); got != "" {
		t.Errorf("%q", got)
	}
}

// FuzzRuleFor: what a program asked for gets into a command line as a rule that
// names it, or not at all.
func FuzzRuleFor(f *testing.F) {
	for _, s := range []string{"a.test", "$(id).test", "a.test; rm -rf /", "192.0.2.1", "2001:db8::1", "*.test", "\x1b[2J.test", "com", "a b", "@default", "--rm"} {
		f.Add(s, uint16(443))
	}
	f.Fuzz(func(t *testing.T, host string, port uint16) {
		text := RuleFor(host, port)
		if text == "" {
			return
		}
		if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]") != "" || strings.HasPrefix(text, "-") {
			t.Fatalf("%q gives %q", host, text)
		}
		p, err := New([]string{text}, nil)
		if err != nil {
			t.Fatalf("%q gives %q: %v", host, text, err)
		}
		h, err := ParseHost(host)
		if err != nil || port != 0 && !p.Decide(h, port).Allowed {
			t.Errorf("%q does not allow %q port %d", text, host, port)
		}
	})
}
