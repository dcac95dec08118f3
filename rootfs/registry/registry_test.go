// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/internal/config"
)

func TestServerName(t *testing.T) {
	for in, want := range map[string]string{
		"": "docker.io", "docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io",
		"https://example.com/v2/": "example.com", "localhost:5000": "localhost:5000", "example.com/team": "example.com",
	} {
		if got, err := ServerName(in); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"a b", "https://", "user@host", "host:port:x"} {
		if got, err := ServerName(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, got)
		}
	}
}

func TestHosts(t *testing.T) {
	file := func(path string, hosts map[string]Host) config.File {
		return config.File{Path: path, Registries: hosts}
	}
	hosts, err := Hosts(config.Config{
		System: file("/s", map[string]Host{"docker.io": {Mirrors: []string{"mirror.example.com/hub"}}, "10.0.0.1:5000": {Insecure: true}}),
		User:   file("/u", map[string]Host{"docker.io": {CA: "/ca.pem"}}),
	})
	if err != nil || len(hosts) != 2 || hosts["docker.io"].CA != "/ca.pem" || len(hosts["docker.io"].Mirrors) != 0 || !hosts["10.0.0.1:5000"].Insecure {
		t.Errorf("%+v, %v", hosts, err)
	}
	for name, bad := range map[string]Host{"https://x": {}, "": {}, "x": {Mirrors: []string{"https://y"}}, "y": {Cert: "c"}, "z": {Mirrors: []string{""}}} {
		if hosts, err := Hosts(config.Config{User: file("/u", map[string]Host{name: bad})}); err == nil || !strings.Contains(err.Error(), "/u") {
			t.Errorf("%q %+v: %+v, %v; want an error that names the file", name, bad, hosts, err)
		}
	}
}

func FuzzEndpoints(f *testing.F) {
	f.Add("mirror.example.com/hub", "docker.io/library/debian:x")
	f.Fuzz(func(_ *testing.T, mirror, image string) {
		hosts := map[string]Host{"docker.io": {Mirrors: []string{mirror}}}
		if checkHosts(hosts) == nil {
			_, _ = New(Options{Hosts: hosts}).Endpoints(image) // malformed, maybe; no panic
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "99999999999999": 0, "2000000000": 30 * 24 * time.Hour,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute,
		now.Add(-time.Hour).Format(http.TimeFormat):  0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func TestLimitText(t *testing.T) {
	for in, want := range map[string]string{"100;w=21600": "100 in 6h0m0s", "100": "100", "\x1b[31m": "unknown", "5;w=x": "5"} {
		if got := limitText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Plain HTTP is for this machine, and for hosts that are called insecure.
func TestGuard(t *testing.T) {
	for host, allowed := range map[string]bool{
		"localhost:5000": true, "127.0.0.1": true, "[::1]:80": true, "10.0.0.1:5000": true,
		"10.0.0.2:5000": false, "example.com": false, "localhost.example.com": false,
	} {
		asked := false
		g := &guard{allowed: map[string]bool{"10.0.0.1": true}, next: roundTripper(func(*http.Request) (*http.Response, error) {
			asked = true
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		var plain *PlainError
		if asked != allowed || errors.As(err, &plain) == allowed {
			t.Errorf("%s: asked %v, %v; want %v", host, asked, err, allowed)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestEndpoints(t *testing.T) {
	c := New(Options{Hosts: map[string]Host{"docker.io": {Mirrors: []string{"mirror.example.com/hub"}}, "10.0.0.1:5000": {Insecure: true}}})
	places, err := c.Endpoints("docker.io/library/debian:trixie")
	if err != nil || len(places) != 2 || places[0].Ref.Name() != "mirror.example.com/hub/library/debian:trixie" || !places[0].Mirror || places[1].Mirror {
		t.Errorf("%+v, %v", places, err)
	}
	ref, err := c.Parse("10.0.0.1:5000/x:y")
	if err != nil || ref.Context().Scheme() != "http" {
		t.Errorf("%v, %v", ref, err)
	}
	if hub, err := name.NewRegistry("index.docker.io"); err != nil || hostName(hub) != "docker.io" {
		t.Errorf("%v, %v", hub, err)
	}
}

// Credentials are kept where docker keeps them, and by its helpers.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cred := Credentials{Username: "me", Password: "s3cret"}
	if err := Store("example.com", cred); err != nil {
		t.Fatal(err)
	}
	if got, err := Stored("example.com"); err != nil || got != cred {
		t.Errorf("%+v, %v", got, err)
	}
	// A helper as docker's protocol has it: a program with the verb as its argument.
	helper := "#!/bin/sh\ncase $1 in\nstore) cat >" + dir + "/kept ;;\nget) cat " + dir + "/kept ;;\nerase) rm -f " + dir + "/kept ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helper), 0o700); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credHelpers":{"helped.example.com":"test"},"other":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Store("helped.example.com", cred); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "kept"))
	config, configErr := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || configErr != nil || !strings.Contains(string(kept), "s3cret") || strings.Contains(string(config), "s3cret") {
		t.Errorf("helper has %q (%v), the file %q (%v)", kept, err, config, configErr)
	}
	if got, err := Stored("helped.example.com"); err != nil || got != cred {
		t.Errorf("%+v, %v", got, err)
	}
	if had, err := Erase("helped.example.com"); err != nil || !had {
		t.Errorf("erased: %v, %v", had, err)
	}
	if had, err := Erase("never.example.com"); err != nil || had {
		t.Errorf("erased nothing: %v, %v", had, err)
	}
}

// A realm that is an address gets a name for go-containerregistry, and its
// address back on the way out.
func TestNameRealm(t *testing.T) {
	for realm, want := range map[string]string{
		"http://127.0.0.1:5001/token":         "http://127.0.0.1.address:5001/token",
		"https://10.0.0.5/token?a=b":          "https://10.0.0.5.address/token?a=b",
		"https://[fd00::1]:8443/token":        "https://fd00--1.address:8443/token",
		"https://[::1]/token":                 "https://--1.address/token",
		"https://auth.example.com/token":      "https://auth.example.com/token",
		"https://auth.example.com:8443/token": "https://auth.example.com:8443/token",
	} {
		before, after := `Bearer realm="`, `",service="s",scope="repository:x:pull"`
		if got := nameRealm(before + realm + after); got != before+want+after {
			t.Errorf("%s: %s", realm, got)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, want, nil)
		if err != nil {
			t.Fatal(err)
		}
		var asked string
		next := roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})
		resp, err := literals{next}.RoundTrip(r)
		if err != nil || asked != realm {
			t.Errorf("%s: asked for %s, %v", realm, asked, err)
		}
		_ = resp.Body.Close()
	}
	for _, odd := range []string{"", "Basic", `Bearer realm="`, `Bearer realm="127.0.0.1`, `Bearer realm="%zz"`} {
		if got := nameRealm(odd); got != odd {
			t.Errorf("%q became %q", odd, got)
		}
	}
}

// What the configuration names may be anywhere, at the port that it says.
func TestConfigured(t *testing.T) {
	c := configured{"docker.io": {Mirrors: []string{"mirror.test:5000/hub"}}, "10.0.0.5:9000": {}, "store.test": {}}
	for _, to := range []struct {
		host string
		port string
		want bool
	}{
		{"mirror.test", "5000", true},
		{"mirror.test", "443", false},
		{"10.0.0.5", "9000", true},
		{"10.0.0.5", "9001", false},
		{"Store.test", "1234", true},
		{"other.test", "443", false},
	} {
		if got := c.Grants(to.host, netip.MustParseAddrPort("10.0.0.5:"+to.port), address.Block{}); got != to.want {
			t.Errorf("%+v: %v", to, got)
		}
	}
}

// A registry that sends a request to itself is asked a bounded number of times.
func TestRedirectsBounded(t *testing.T) {
	for _, c := range []struct {
		ends int // after so many redirects
		ok   bool
	}{{maxRedirects, true}, {1 << 30, false}} {
		asked := 0
		rt := literals{roundTripper(func(r *http.Request) (*http.Response, error) {
			if asked++; asked > c.ends {
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
			}
			return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {"/again"}}, Body: http.NoBody, Request: r}, nil
		})}
		client := http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != c.ok || asked > maxRedirects+1 {
			t.Errorf("%+v: asked %d times, %v", c, asked, err)
		}
	}
}

// What a host's files of certificates said first holds for all clients that share them,
// an error, too; what one makes of its configuration is not the next one's.
func TestCertificatesReadOnce(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	dir := t.TempDir()
	file := filepath.Join(dir, "r.example", "ca.crt")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	certificates := NewCertificates(dir)
	first, err := certificates.of("r.example", Host{})
	if err != nil || first == nil {
		t.Fatalf("%v, %v", first, err)
	}
	first.InsecureSkipVerify = true
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := certificates.of("r.example", Host{}); err != nil || again == nil || again.InsecureSkipVerify || !again.RootCAs.Equal(first.RootCAs) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := NewCertificates(dir).of("r.example", Host{}); err == nil {
		t.Error("the control sees no change")
	}
	if other, err := certificates.of("other.example", Host{}); err != nil || other != nil {
		t.Errorf("another host: %+v, %v", other, err)
	}
}

// Certificates may be reached by a link; a FIFO or a device in a directory of them is
// an error, and is not waited for.
func TestCertificateFiles(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for what, c := range map[string]struct {
		plant func(path string) error
		want  string // "": they are taken
	}{
		"a file": {func(path string) error { return os.WriteFile(path, text, 0o600) }, ""},
		"a link": {func(path string) error {
			return errors.Join(os.WriteFile(path+".pem", text, 0o600), os.Symlink(path+".pem", path))
		}, ""},
		"a FIFO":     {func(path string) error { return unix.Mkfifo(path, 0o600) }, "not a regular file"},
		"a device":   {func(path string) error { return os.Symlink("/dev/zero", path) }, "not a regular file"},
		"a lost one": {func(path string) error { return os.Symlink("/nowhere", path) }, "no such file"},
		"other text": {func(path string) error { return os.WriteFile(path, []byte("hello"), 0o600) }, "no certificate in it"},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "r.example"), 0o700), c.plant(filepath.Join(dir, "r.example", "ca.crt"))); err != nil {
			t.Fatal(err)
		}
		got, err := NewCertificates(dir).of("r.example", Host{})
		switch {
		case c.want == "" && (err != nil || got == nil):
			t.Errorf("%s: %v, %v", what, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "ca.crt")):
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
}
