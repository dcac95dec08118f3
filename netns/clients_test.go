// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/netns/gateway"
)

//go:embed testdata/clients/client.*
var clientScripts embed.FS

// envModules names a directory with npm's packages that a user of a test's range
// can read; scripts/setup.sh test puts them into .cache.
const (
	envModules = "CPC_TEST_MODULES"
	modules    = "../.cache/clients/node_modules"
)

// client is a program that is tried: how it is called, and facts that it is to
// print.
type client struct {
	command []string // of the client's script, before host and authority
	after   []string
	want    map[string]string
}

// wants writes down facts by scheme.
func wants(schemes []string, each map[string]string, more map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, more)
	for _, scheme := range schemes {
		for what, value := range each {
			all[strings.TrimSpace(strings.ReplaceAll(what, "*", scheme))] = value
		}
	}
	return all
}

// sums of what is sent.
var (
	sent   = bytes.Repeat([]byte("0123456789abcdef"), 512<<10) //nolint:gochecknoglobals // a constant
	zeroes = bytes.Repeat([]byte("x"), 8<<20)                  //nolint:gochecknoglobals // a constant
)

func clients(s *site) map[string]client {
	const hello, failed = "hello from " + siteName, "error"
	down, up := sum(s.big), sum(sent)
	python := func(library string) []string { return []string{"/usr/bin/python3", "client.py", library} }
	shell := func(program string) []string { return []string{"sh", "client.sh", program} }
	both := []string{"http", "https"}
	ws := "hello " + up + " 1000"
	return map[string]client{
		"go": {want: wants([]string{"http", "https", "h2"}, map[string]string{
			"*": hello, "* kept": "1", "* download": down, "* upload": up, "* at once": "20", "* cut": failed, "* after": hello,
		}, map[string]string{"refused name": failed})},
		"requests": {command: python("requests"), want: wants(both, map[string]string{
			"*": hello, "* kept": "1", "* download": down, "* upload": up, "* chunks": up, "* at once": "20", "* cut": failed, "* after": hello,
		}, map[string]string{"refused name": failed, "refused port": failed})},
		"httpx": {command: python("httpx"), want: wants([]string{"http", "https", "h2"}, map[string]string{
			"*": hello, "* kept": "1", "* download": down, "* upload": up, "* cut": failed, "* after": hello,
		}, map[string]string{
			"http version": "HTTP/1.1", "https version": "HTTP/1.1", "h2 version": "HTTP/2", "h2 streams": "20 on 1", "refused name": failed,
		})},
		"aiohttp": {command: python("aiohttp"), want: wants(both, map[string]string{
			"*": hello, "* kept": "1", "* download": down, "* upload": up, "* at once": "20", "* websocket": "hello 100000 1000",
			"* cut": failed, "* after": hello, "* refused name": failed,
		}, nil)},
		"websockets": {command: python("websockets"), want: map[string]string{
			"ws": ws, "wss": ws, "ws at once": "20", "ws cut": failed, "refused name": failed,
		}},
		"grpc": {command: python("grpc"), want: wants([]string{"tls", "plain"}, map[string]string{
			"* unary": "hello", "* large": sum(sent[:3<<20]), "* stream": "0 1 2 3 4", "* at once": "20", "* cut": failed, "* after": "again",
		}, map[string]string{"refused name": failed})},
		"node": {command: []string{"node", "client.js"}, after: []string{os.Getenv(envModules)}, want: wants(both, map[string]string{
			"fetch *": hello, "fetch * kept": "1", "fetch * download": down, "fetch * upload": up, "fetch * at once": "20",
			"fetch * cut": failed, "fetch * after": hello,
			"agent * kept": "1", "agent * upload": up, "agent * download": down, "agent * at once": "20", "agent * cut": failed, "ws *": ws,
		}, map[string]string{
			"http2 streams": "20 on 1", "http2 download": down, "http2 upload": up, "http2 cut": failed, "http2 after": hello + ":443", "refused name": failed,
		})},
		"curl": {command: shell("curl"), want: curlWants(hello, down)},
		"git": {command: shell("git"), want: wants(both, map[string]string{
			"* clone": "", "* file": down, "* push": "", "* pushed": "same", "* cut": "error 128",
		}, map[string]string{"refused name": "error 128"})},
		"npm": {command: shell("npm"), want: map[string]string{"http install": down, "https install": down, "refused name": "error 1"}},
		"apt": {command: shell("apt"), want: wants(both, map[string]string{
			"* update": "", "* download": "", "* file": down,
		}, map[string]string{"refused name": "error 100"})},
	}
}

func curlWants(hello, down string) map[string]string {
	up := sum(zeroes)
	all := map[string]string{
		"refused name": "error 6", "refused port": "error 7",
		"other name": "403", "other name TLS": "error 35",
	}
	for _, how := range []string{"http1.0 http", "http1.1 http", "http1.1 https", "http2 https"} {
		all[how], all[how+" download"], all[how+" upload"] = hello, down, up
		if strings.HasPrefix(how, "http1.0") {
			continue
		}
		all[how+" kept"], all[how+" post"], all[how+" at once"], all[how+" cut"] = "1 0", up, "20", "error 18"
	}
	all["http2 https cut"] = "error 92"
	return all
}

// TestClients: programs that people use do through the gateway what they do
// without it, and what fails does so at once.
func TestClients(t *testing.T) {
	if !modetest.Inside() {
		shareModules(t)
	}
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		s := newSite(t.T, w, openDir(t.T))
		o := w.host()
		o.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(public)}, nil
		}
		_, b := open(t, Options{Policy: allow(t.T, siteName, siteName+":50051"), Host: o, Limits: gateway.Limits{PerSecond: 1 << 20}})
		s.write(t.T, "resolv.conf", []byte("nameserver 198.18.0.1\n"))
		for _, name := range []string{"client.py", "client.js", "client.sh"} {
			text, err := clientScripts.ReadFile("testdata/clients/" + name)
			if err != nil {
				t.Fatal(err)
			}
			s.write(t.T, name, text)
		}
		all := clients(s)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			t.Run(name, func(t *testing.T) { b.try(t, s, name, all[name]) })
		}
	})
}

// shareModules copies npm's packages to where other users can read them.
func shareModules(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(modules); err != nil {
		t.Fatalf("%v; run: scripts/setup.sh test", err)
	}
	dir := openDir(t)
	if err := os.CopyFS(dir, os.DirFS(modules)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envModules, dir)
}

// openDir returns a directory that others can read, unlike t.TempDir's.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cpc-clients-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	return dir
}

// try runs one of the clients in the sandbox, and compares what it says.
func (b *box) try(t *testing.T, s *site, name string, c client) {
	t.Helper()
	home := filepath.Join(s.dir, "home-"+name)
	if err := errors.Join(os.Mkdir(home, 0o777), os.Chmod(home, 0o777)); err != nil { //nolint:gosec // the sandbox writes there
		t.Fatal(err)
	}
	o := order{Do: "client", Addr: siteName, Dir: s.dir}
	if c.command != nil {
		o.Do, o.Names = "command", append(append(slices.Clone(c.command), siteName, s.ca), c.after...)
		o.Addrs = []string{"HOME=" + home, "TMPDIR=" + home, "NODE_EXTRA_CA_CERTS=" + s.ca, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C.UTF-8"}
		o.Wait = 6 * time.Minute
	}
	r := b.do(o)
	got := map[string]string{}
	for line := range strings.Lines(r.Text) {
		if what, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			got[what] = strings.TrimSpace(value)
		}
	}
	for what, value := range c.want {
		if have, ok := got[what]; !ok || have != value {
			t.Errorf("%s: %q, want %q", what, have, value)
		}
	}
	if r.Err != "" || t.Failed() || len(got) != len(c.want) {
		t.Errorf("%s after %v\n%s\n%s", r.Err, r.Took, r.Text, strings.Join(r.Names, "\n"))
	}
}

// command runs a program in a mount namespace in which the gateway is the name
// server.
func command(o order) (r result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.Wait)
	defer cancel()
	const mount = `mount --bind "$0" /etc/resolv.conf && exec "$@"`
	args := append([]string{"-m", "--propagation", "private", "sh", "-c", mount, filepath.Join(o.Dir, "resolv.conf")}, o.Names...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir, cmd.WaitDelay = o.Dir, time.Second
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, o.Addrs...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	r.Text, r.Names = out.String(), []string{errs.String()}
	return r, err
}

// goClient does with net/http what the scripts do with others.
func goClient(o order) (r result, err error) {
	pem, err := os.ReadFile(filepath.Join(o.Dir, "ca.pem"))
	if err != nil {
		return r, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var out strings.Builder
	for _, how := range []string{"http", "https", "h2"} {
		d := net.Dialer{Timeout: patience, Resolver: resolver()}
		var protocols http.Protocols
		protocols.SetHTTP1(how != "h2")
		protocols.SetHTTP2(how == "h2")
		c := http.Client{Timeout: 45 * time.Second, Transport: &http.Transport{
			DialContext: d.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: &protocols, //nolint:gosec // for tests
		}}
		scheme := strings.Replace(how, "h2", "https", 1)
		fact := func(what string, f func() (string, error)) {
			said, err := f()
			if err != nil {
				said = "error"
				r.Names = append(r.Names, fmt.Sprintf("%s %s: %v", how, what, err))
			}
			fmt.Fprintf(&out, "%s: %s\n", strings.TrimSpace(how+" "+what), said)
		}
		goFacts(&c, scheme+"://"+o.Addr, fact)
		c.CloseIdleConnections()
		if how == "http" {
			_, err := ask1(&c, "http://other.test/")
			if err != nil {
				fmt.Fprintln(&out, "refused name: error")
			}
		}
	}
	r.Text = out.String()
	return r, nil
}

type answered struct {
	body []byte
	from string
}

func ask1(c *http.Client, url string) (a answered, err error) {
	r, err := c.Get(url) //nolint:noctx // the client has a timeout
	if err != nil {
		return a, err
	}
	a.body, err = io.ReadAll(r.Body)
	a.from = r.Header.Get("X-Connection")
	return a, errors.Join(err, r.Body.Close())
}

func goFacts(c *http.Client, url string, fact func(string, func() (string, error))) {
	get := func() (string, error) { a, err := ask1(c, url); return string(a.body), err }
	fact("", get)
	fact("kept", func() (string, error) {
		from := map[string]bool{}
		for range 3 {
			a, err := ask1(c, url)
			if err != nil {
				return "", err
			}
			from[a.from] = true
		}
		return fmt.Sprint(len(from)), nil
	})
	fact("download", func() (string, error) { a, err := ask1(c, url+"/down"); return sum(a.body), err })
	fact("upload", func() (string, error) {
		r, err := c.Post(url+"/up", "text/plain", bytes.NewReader(sent)) //nolint:noctx // the client has a timeout
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(r.Body)
		return string(b), errors.Join(err, r.Body.Close())
	})
	fact("at once", func() (string, error) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		done := 0
		for n := range 20 {
			wg.Go(func() {
				_, err := ask1(c, fmt.Sprintf("%s/?%d", url, n))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					done++
				}
			})
		}
		wg.Wait()
		return fmt.Sprint(done), nil
	})
	fact("cut", func() (string, error) { a, err := ask1(c, url+"/cut"); return string(a.body), err })
	fact("after", get)
}
