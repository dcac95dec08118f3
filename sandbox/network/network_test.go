// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

func TestFilesWithoutNetwork(t *testing.T) {
	o := Options{Hosts: []netns.AddHost{{Name: "db", Addr: netip.MustParseAddr("10.0.0.1")}}}
	f, err := o.WriteFiles(t.TempDir(), "box", "none", nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{f.Hostname: "box\n", f.Hosts: "10.0.0.1\tdb\n127.0.1.1\tbox\n", f.ResolvConf: "no network"} {
		raw, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %q, %v; want %q in it", path, raw, err, want)
		}
		if strings.Contains(string(raw), "nameserver") {
			t.Errorf("%s names a name server: %q", path, raw)
		}
	}
	if f.HostCA != "" {
		t.Errorf("a CA bundle that nobody asked for: %s", f.HostCA)
	}
}

// TestFilesOfHost: on the host's network a sandbox finds its own name, too.
func TestFilesOfHost(t *testing.T) {
	f, err := Options{}.WriteFiles(t.TempDir(), "box-of-the-test", "host", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Hosts)
	if err != nil || !strings.Contains(string(raw), "\tbox-of-the-test\n") {
		t.Errorf("hosts: %q, %v", raw, err)
	}
}

func TestResolvConfOfHost(t *testing.T) {
	const own = "# mine\nnameserver 192.0.2.1\nsearch a.example\noptions ndots:1"
	for name, c := range map[string]struct {
		d    DNS
		want string
	}{
		"as it is": {DNS{}, own + "\n"},
		"servers":  {DNS{Servers: []string{"192.0.2.2"}}, "# mine\nsearch a.example\noptions ndots:1\nnameserver 192.0.2.2\n"},
		"search":   {DNS{Search: []string{"b.example"}}, "# mine\nnameserver 192.0.2.1\noptions ndots:1\nsearch b.example\n"},
		"nothing":  {DNS{Search: []string{"."}}, "# mine\nnameserver 192.0.2.1\noptions ndots:1\n"},
		"options":  {DNS{Options: []string{"rotate", "timeout:1"}}, "# mine\nnameserver 192.0.2.1\nsearch a.example\noptions rotate timeout:1\n"},
	} {
		if got, err := c.d.over(own); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	if got, err := (DNS{Options: []string{"ndots:1\nnameserver 8.8.8.8"}}).over(own); err == nil {
		t.Errorf("a second line was let in: %q", got)
	}
}

func TestCA(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	good := file("good", certificate)
	ca, err := ReadCA(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(good); err != nil { // what was read is what is given
		t.Fatal(err)
	}
	f, err := Options{HostCA: ca}.WriteFiles(t.TempDir(), "box", "none", nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(f.HostCA); err != nil || string(raw) != certificate {
		t.Errorf("%q, %v", raw, err)
	}
	for name, text := range map[string]string{
		"private key":    certificate + "-----BEGIN EC PRIVATE KEY-----\n",
		"no certificate": "root:x:0:0\n",
	} {
		if _, err := ReadCA(file("bad", text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("SSL_CERT_FILE", file("good", certificate))
	if got, err := FindCA(); err != nil || got != ca {
		t.Errorf("%+v, %v", got, err)
	}
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "none"))
	if got, err := FindCA(); err == nil {
		t.Errorf("SSL_CERT_FILE names nothing, and %+v was taken", got)
	}
}

func TestProxy(t *testing.T) {
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
	}
	if p, err := ProxyOfEnvironment(); err != nil || p.choose() != nil {
		t.Errorf("%+v, %v", p, err)
	}
	t.Setenv("HTTP_PROXY", "http://plain.proxy:3128")
	t.Setenv("HTTPS_PROXY", "user:secret@tls.proxy:3129")
	t.Setenv("NO_PROXY", ".corp.example,10.0.0.0/8")
	p, err := ProxyOfEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	choose := p.choose()
	for _, c := range []struct {
		host string
		port uint16
		want string
	}{
		{"example.org", 80, "plain.proxy:3128"},
		{"example.org", 443, "tls.proxy:3129"},
		{"example.org", 22, "tls.proxy:3129"},
		{"git.corp.example", 443, ""},
		{"10.1.2.3", 5432, ""},
		{"2001:db8::1", 443, "tls.proxy:3129"},
	} {
		h, err := policy.ParseHost(c.host)
		if err != nil {
			t.Fatal(err)
		}
		u, err := choose(h, c.port)
		got := ""
		if u != nil {
			got = u.Host
		}
		if err != nil || got != c.want {
			t.Errorf("%s:%d: %q, %v; want %q", c.host, c.port, got, err, c.want)
		}
	}
	for _, bad := range []string{"socks5://user:secret@p:1080", "https://user:secret@p:1", "http://user:secret@"} {
		t.Setenv("HTTPS_PROXY", bad)
		if _, err := ProxyOfEnvironment(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
