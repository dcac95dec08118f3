// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/address"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// rules of a test: what is denied, and what is granted, each by address or name.
type rules struct{ deny, grant []string }

func (r rules) Refuses(host string, _ uint16) string {
	if slices.Contains(r.deny, host) {
		return "denied by name"
	}
	return ""
}

func (r rules) Denies(to netip.AddrPort) string {
	if slices.Contains(r.deny, to.Addr().String()) {
		return "denied"
	}
	return ""
}

func (r rules) Grants(_ string, to netip.AddrPort, _ address.Block) bool {
	return slices.Contains(r.grant, to.Addr().String())
}

// TestCheck: where what was named may lead.
func TestCheck(t *testing.T) {
	own := addrs("127.0.0.1", "10.0.0.5", "198.51.100.7")
	for _, c := range []struct {
		home   string // of the host "named.test"
		chosen bool
		ok     string // addresses that it may send one on to
		not    string
	}{
		// What a Dockerfile names leads to the public internet only.
		{"93.184.216.34", false, "8.8.8.8 2606:4700::1 64:ff9b::8.8.8.8", "127.0.0.1 ::1 10.0.0.9 10.0.0.5 198.51.100.7 169.254.169.254 ::ffff:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a00:9 fd00::1 0.0.0.0"},
		{"10.0.0.9", false, "8.8.8.8", "10.0.0.9 127.0.0.1"},
		// What a person names and is public leads there only, too.
		{"93.184.216.34", true, "8.8.8.8", "127.0.0.1 10.0.0.9 169.254.169.254 64:ff9b::10.0.0.9"},
		// What is in a private network leads to others in private networks.
		{"10.0.0.9", true, "8.8.8.8 10.0.0.9 10.7.7.7 192.168.1.1 fd00::1 64:ff9b::a00:9", "127.0.0.1 ::1 10.0.0.5 198.51.100.7 169.254.169.254 fe80::1 224.0.0.1"},
		// What is on this machine leads to it and to its networks.
		{"127.0.0.1", true, "8.8.8.8 127.0.0.1 ::1 10.0.0.5 10.0.0.9 198.51.100.7", "169.254.169.254 64:ff9b::169.254.169.254 fe80::1"},
		{"10.0.0.5", true, "127.0.0.1 10.0.0.9", "169.254.169.254"},
		// A name with public and private addresses counts as public.
		{"93.184.216.34 10.0.0.9", true, "8.8.8.8", "10.0.0.8 127.0.0.1"},
		{"127.0.0.1 10.0.0.9", true, "10.0.0.8", "::1"},
		// What no proxy of the environment told us of: nothing is known.
		{"", true, "8.8.8.8", "127.0.0.1 10.0.0.9"},
	} {
		trail := &Trail{Host: "named.test", Chosen: c.chosen, home: addrs(strings.Fields(c.home)...), Own: func() ([]netip.Addr, error) { return own, nil }}
		for _, host := range []string{"elsewhere.test", "named.test"} {
			for _, a := range addrs(strings.Fields(c.ok)...) {
				if err := trail.check(host, netip.AddrPortFrom(a, 80)); err != nil {
					t.Errorf("%+v: %s: %v", c, host, err)
				}
			}
			for _, a := range addrs(strings.Fields(c.not)...) {
				if err := trail.check(host, netip.AddrPortFrom(a, 80)); err == nil {
					t.Errorf("%+v: %s, %s: let through", c, host, a)
				}
			}
		}
	}
}

func TestMixed(t *testing.T) {
	home := addrs("93.184.216.34", "10.0.0.9")
	for mixed, want := range map[bool]bool{true: true, false: false} {
		trail := &Trail{Host: "named.test", Chosen: true, Mixed: mixed, home: home, Own: func() ([]netip.Addr, error) { return nil, nil }}
		if err := trail.check("Named.test", netip.MustParseAddrPort("10.0.0.9:443")); (err == nil) != want {
			t.Errorf("mixed %v: %v", mixed, err)
		}
		for _, other := range []string{"10.0.0.10:443", "127.0.0.1:443"} {
			if trail.check("named.test", netip.MustParseAddrPort(other)) == nil {
				t.Errorf("mixed %v: %s is let through", mixed, other)
			}
		}
		if trail.check("elsewhere.test", netip.MustParseAddrPort("10.0.0.9:443")) == nil {
			t.Errorf("mixed %v: another name is let through", mixed)
		}
	}
}

func TestRules(t *testing.T) {
	trail := &Trail{Host: "named.test", Chosen: true, home: addrs("127.0.0.1"), Rules: rules{deny: []string{"evil.test", "8.8.4.4", "10.0.0.1"}, grant: []string{"169.254.169.254", "10.0.0.1"}}}
	for to, ok := range map[string]bool{
		"8.8.8.8": true, "8.8.4.4": false, "169.254.169.254": true, "10.0.0.1": false, "::ffff:8.8.4.4": false,
	} {
		if err := trail.check("x.test", netip.AddrPortFrom(netip.MustParseAddr(to), 1)); (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
	}
	for host, ok := range map[string]bool{
		"x.test": true, "evil.test": false, "2130706433": false, "0x7f.1": false, "127.1": false, "0x7f000001.": false, "x.0x": false,
		"localhost": true, "8.8.8.8": true, "[::1]": true, "2606:4700::1": true, "beef.cafe": true,
	} {
		if err := trail.checkName(host, 80); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
	public := &Trail{Host: "public.test"}
	for host, ok := range map[string]bool{"x.test": true, "localhost": false, "a.localhost.": false, "127.0.0.1": false, "::1": false, "8.8.8.8": true} {
		if err := public.CheckProxied(host, 80); (err == nil) != ok {
			t.Errorf("by a proxy, %s: %v", host, err)
		}
	}
}

// TestProxy: a program that knows the password gets where the trail leads, by
// tunnel and by request; anyone else gets nowhere.
func TestProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served "+r.Header.Get("Proxy-Authorization"))
	}))
	t.Cleanup(server.Close)
	secure := httptest.NewTLSServer(server.Config.Handler)
	t.Cleanup(secure.Close)
	for _, c := range []struct {
		name   string
		chosen bool
		user   *url.Userinfo
		want   string
	}{
		{"allowed", true, nil, "served "},
		{"refused", false, nil, "it is loopback"},
		{"no password", true, url.UserPassword("cpc", "x"), "who are you?"},
	} {
		trail := &Trail{Host: "127.0.0.1", Chosen: c.chosen}
		p, err := trail.NewProxy()
		if err != nil {
			t.Fatal(err)
		}
		at := *p.URL
		if c.user != nil {
			at.User = c.user
		}
		for _, s := range []*httptest.Server{server, secure} {
			client := s.Client()
			tr := client.Transport.(*http.Transport).Clone()
			tr.Proxy = http.ProxyURL(&at)
			got := get(t, &http.Client{Transport: tr}, s.URL)
			tr.CloseIdleConnections()
			if s == server && !strings.Contains(got, c.want) || s == secure && strings.Contains(got, "served") != (c.want == "served ") {
				t.Errorf("%s, %s: %q", c.name, s.URL, got)
			}
		}
		if refused := p.Refused(); (refused != nil) != (c.name == "refused") {
			t.Errorf("%s: %v", c.name, refused)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func get(t *testing.T, c *http.Client, address string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

// TestThrough: bytes go both ways, and what the other side says first is not lost.
func TestThrough(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello ")
		_, _ = io.Copy(c, c)
	}()
	for chosen, want := range map[bool]string{true: "hello echo", false: ""} {
		p, err := (&Trail{Host: "127.0.0.1", Chosen: chosen}).NewProxy()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = Through(context.WithoutCancel(t.Context()), p.URL.String(), l.Addr().String(), strings.NewReader("echo"), &out)
		if out.String() != want || (err == nil) != chosen {
			t.Errorf("chosen %v: %q, %v", chosen, out.String(), err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
