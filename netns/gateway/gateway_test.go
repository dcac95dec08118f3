// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// fixture is a gateway on loopback, where every connection goes to dst.
type fixture struct {
	*Gateway
	t    *testing.T
	at   string
	pol  atomic.Pointer[policy.Policy]
	dst  atomic.Pointer[netip.AddrPort]
	mu   sync.Mutex
	seen []event.Event
}

var synthetic = netip.MustParsePrefix("198.18.0.0/15")

// hosts of the tests: every name but "two.test" is at 127.0.0.1.
func resolve(_ context.Context, name string) ([]netip.Addr, error) {
	addr := netip.MustParseAddr
	switch name {
	case "metadata.test":
		return []netip.Addr{addr("169.254.169.254")}, nil
	case "private.test":
		return []netip.Addr{addr("10.1.2.3"), addr("::ffff:192.168.1.1"), addr("fd00::1")}, nil
	case "gone.test":
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case "nat64.test":
		return []netip.Addr{addr("64:ff9b::203.0.113.66")}, nil
	case "hidden.test":
		return []netip.Addr{addr("64:ff9b::10.1.2.3")}, nil
	case "two.test": // the first does not answer
		return []netip.Addr{addr("127.0.0.9"), addr("127.0.0.1")}, nil
	}
	return []netip.Addr{addr("127.0.0.1")}, nil
}

func start(t *testing.T, o Options, rules ...string) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.rules(rules...)
	o.Policy = f.pol.Load
	o.Synthetic = []netip.Prefix{synthetic}
	o.Record = func(e event.Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen = append(f.seen, e)
	}
	// 198.18.1.N stands for the N-th name.
	names := []string{"a.test", "b.test", "metadata.test", "private.test", "gone.test", "two.test", "nat64.test", "hidden.test"}
	o.Name = func(a netip.Addr) (string, bool) {
		raw := a.As16()
		raw = [16]byte(append(raw[12:], raw[:12]...))
		if synthetic.Contains(a) && raw[2] == 1 && int(raw[3]) < len(names) {
			return names[raw[3]], true
		}
		return "", false
	}
	if o.Resolve == nil {
		o.Resolve = resolve
	}
	o.OriginalDst = func(*net.TCPConn) (netip.AddrPort, error) { return *f.dst.Load(), nil }
	f.Gateway = New(o)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.at = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the gateway does not end")
		}
		if n := len(f.Conns()); n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
	return f
}

func (f *fixture) rules(rules ...string) {
	f.t.Helper()
	p, err := policy.New(rules, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.pol.Store(p)
}

// dial connects as a program would, to the n-th name.
func (f *fixture) dial(n int, port uint16) *net.TCPConn {
	f.t.Helper()
	return f.dialAddr(name(n, port))
}

func (f *fixture) dialAddr(dst netip.AddrPort) *net.TCPConn {
	f.t.Helper()
	c, err := f.try(dst)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func (f *fixture) try(dst netip.AddrPort) (net.Conn, error) {
	f.dst.Store(&dst)
	return net.Dial("tcp4", f.at)
}

// isReset reports whether a connection to the n-th name is reset, while it is
// made or later.
func (f *fixture) isReset(dst netip.AddrPort) bool {
	f.t.Helper()
	c, err := f.try(dst)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, unix.ECONNRESET) {
		f.t.Logf("%s: %v", dst, err)
		return false
	}
	return true
}

func name(n int, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(n)}), port)
}

// event waits for one of the kind.
func (f *fixture) event(kind event.Kind, verdict event.Verdict) event.Event {
	f.t.Helper()
	var found event.Event
	seen := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		i := slices.IndexFunc(f.seen, func(e event.Event) bool { return e.Kind == kind && e.Verdict == verdict })
		if i < 0 {
			return false
		}
		found = f.seen[i]
		f.seen = slices.Delete(f.seen, i, i+1)
		return true
	}
	if !testkit.Within(testkit.Patience, seen) {
		f.t.Fatalf("no event %s %s: %+v", kind, verdict, f.seen)
	}
	return found
}

// server listens on loopback and serves each connection by f.
func server(t *testing.T, serve func(*net.TCPConn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c); _ = c.CloseWrite() }

func portOf(t *testing.T, addr net.Addr) uint16 {
	t.Helper()
	return uint16(addr.(*net.TCPAddr).Port)
}

func grant(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func TestRaw(t *testing.T) {
	port := server(t, echo)
	f := start(t, Options{}, fmt.Sprintf("a.test:%d", port), grant(port))
	c := f.dial(0, port)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite() // the answer must still come
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes back, %v", len(got), err)
	}
	if e := f.event(event.Connect, event.Allowed); e.Name != "a.test" || e.Port != port || e.Upstream.Port() != port || e.Proto != "raw" || e.Rule == "" {
		t.Errorf("%+v", e)
	}
	if e := f.event(event.Close, event.Allowed); e.Sent != uint64(len(data)) || e.Received != uint64(len(data)) || e.Duration <= 0 || e.Reason != "" {
		t.Errorf("%+v", e)
	}
}

func TestRefusedTargets(t *testing.T) {
	port := server(t, echo)
	all := []string{fmt.Sprintf("a.test:%d", port), "metadata.test:80/raw", "private.test:80/raw", "0.0.0.0/0:80", "10.0.0.0/16:80"}
	f := start(t, Options{}, all...)
	for _, c := range []struct {
		dst    string
		reason string
	}{
		{fmt.Sprintf("198.18.1.0:%d", port), "loopback"},
		{"198.18.1.0:81", policy.ReasonPort},
		{"198.18.1.1:80", policy.ReasonNoRule},
		{"198.18.1.2:80", "cloud metadata"},
		{"198.18.1.3:80", "no rule grants it"},
		{"198.18.9.9:80", "stands for no name"},
		{"127.0.0.1:80", "loopback"},
		{"[::ffff:127.0.0.1]:80", "loopback"},
		{"10.1.2.3:80", "private"},
		{"169.254.169.254:80", "cloud metadata"},
		{"10.0.2.3:81", policy.ReasonPort},
		{"[::1]:80", policy.ReasonNoRule},
	} {
		if !f.isReset(netip.MustParseAddrPort(c.dst)) {
			t.Errorf("%s is not reset", c.dst)
		}
		if e := f.event(event.Connect, event.Denied); !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s: %+v", c.dst, e)
		}
	}
}

func TestFailures(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := portOf(t, l.Addr())
	_ = l.Close()
	var dialErr atomic.Pointer[error]
	failed := make(chan Failure, 10)
	f := start(t, Options{
		Dial: func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
			if e := dialErr.Load(); e != nil {
				return nil, *e
			}
			return defaultDial(ctx, to)
		},
		Failed: func(_ netip.AddrPort, why Failure) { failed <- why },
	}, fmt.Sprintf("a.test:%d", closed), fmt.Sprintf("gone.test:%d", closed), grant(closed))
	for _, c := range []struct {
		n    int
		err  error
		want Failure
	}{
		{0, nil, Refused},
		{0, unix.EHOSTUNREACH, Unreachable},
		{0, context.DeadlineExceeded, Timeout},
		{0, errors.New("x"), Other},
		{4, nil, NoName},
	} {
		dialErr.Store(nil)
		if c.err != nil {
			dialErr.Store(&c.err)
		}
		if !f.isReset(name(c.n, closed)) {
			t.Errorf("%s: not reset", c.want)
		}
		if e := f.event(event.Connect, event.Failed); e.Reason != string(c.want) {
			t.Errorf("%+v, want %s", e, c.want)
		}
		if got := <-failed; got != c.want {
			t.Errorf("told of %s", got)
		}
	}
}

func TestHappyEyeballs(t *testing.T) {
	port := server(t, echo)
	f := start(t, Options{
		Dial: func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
			if to.Addr() == netip.MustParseAddr("127.0.0.9") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return defaultDial(ctx, to)
		},
	}, fmt.Sprintf("two.test:%d", port), "127.0.0.9:"+fmt.Sprint(port), grant(port))
	c := f.dial(5, port)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestDeniedAddress: a deny rule for addresses holds for what a name leads to.
func TestDeniedAddress(t *testing.T) {
	port := server(t, echo)
	f := start(t, Options{}, fmt.Sprintf("a.test:%d", port), grant(port))
	next, err := f.pol.Load().With(nil, []string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	c := f.dial(0, port)
	f.event(event.Connect, event.Allowed)
	f.pol.Store(next)
	if f.Recheck() != 1 || !f.isReset(name(0, port)) {
		t.Error("a denied address was dialled, or stays")
	}
	_ = c.Close()
}

// TestRebind: what was checked is what is dialled.
func TestRebind(t *testing.T) {
	port := server(t, echo)
	f := start(t, Options{
		Dial: func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
			return defaultDial(ctx, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port()))
		},
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		},
	}, fmt.Sprintf("a.test:%d", port))
	if !f.isReset(name(0, port)) {
		t.Error("not reset")
	}
	if e := f.event(event.Connect, event.Denied); !strings.Contains(e.Reason, "instead of") {
		t.Errorf("%+v", e)
	}
}

func TestLimits(t *testing.T) {
	port := server(t, echo)
	f := start(t, Options{Limits: Limits{Conns: 3, PerSecond: 1000, Queue: 50 * time.Millisecond}}, fmt.Sprintf("a.test:%d", port), grant(port))
	for range 3 {
		f.dial(0, port)
		f.event(event.Connect, event.Allowed)
	}
	if !f.isReset(name(0, port)) {
		t.Error("the fourth is not reset")
	}
	f.event(event.Connect, event.Denied)
	if len(f.Conns()) != 3 || !f.Busy("a.test") || f.Busy("b.test") {
		t.Errorf("%+v", f.Conns())
	}
	slow := start(t, Options{Limits: Limits{PerSecond: 1, Head: 50 * time.Millisecond, Idle: 300 * time.Millisecond}},
		fmt.Sprintf("a.test:%d", port), fmt.Sprintf("b.test:%d/http", port), grant(port))
	first := time.Now()
	_ = slow.dial(1, port)
	if e := slow.event(event.Connect, event.Denied); e.Reason != "no request in time" {
		t.Errorf("%+v", e)
	}
	_ = slow.dial(0, port)
	if e := slow.event(event.Close, event.Allowed); e.Reason != "idle" {
		t.Errorf("%+v", e)
	}
	c := slow.dial(0, port) // the third in a second waits, and is served
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if took := time.Since(first); took < 900*time.Millisecond {
		t.Errorf("three were served in %v", took)
	}
}

func TestPolicyChange(t *testing.T) {
	port := server(t, echo)
	a, b := fmt.Sprintf("a.test:%d", port), fmt.Sprintf("b.test:%d", port)
	f := start(t, Options{}, a, b, grant(port))
	one, two := f.dial(0, port), (*net.TCPConn)(nil)
	f.event(event.Connect, event.Allowed)
	two = f.dial(1, port)
	f.event(event.Connect, event.Allowed)
	f.rules(b, grant(port))
	if n := f.Recheck(); n != 1 {
		t.Errorf("%d connections cut, want 1", n)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the removed rule's connection: %v", err)
	}
	if e := f.event(event.Close, event.Allowed); e.Reason != policyChanged || e.Name != "a.test" {
		t.Errorf("%+v", e)
	}
	if _, err := two.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(two, make([]byte, 1)); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	f.rules(b) // the grant is gone
	if n := f.Recheck(); n != 1 {
		t.Errorf("%d connections cut, want 1", n)
	}
}

func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// tlsServer answers handshakes and echoes.
func tlsServer(t *testing.T, config *tls.Config) uint16 {
	t.Helper()
	return server(t, func(c *net.TCPConn) {
		s := tls.Server(c, config)
		_, _ = io.Copy(s, s)
		_ = s.CloseWrite()
	})
}

// pieces writes a byte at a time.
type pieces struct{ net.Conn }

func (p pieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t, "a.test", "b.test")
	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
	}{
		{"1.3", &tls.Config{}, &tls.Config{}},
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{}},
		// More than one record, as with many shares of keys.
		{"large", &tls.Config{}, &tls.Config{NextProtos: manyProtocols()}},
		// The client offers a share of another curve first.
		{"retry", &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.Certificates = []tls.Certificate{cert}
			port := tlsServer(t, c.server)
			f := start(t, Options{}, fmt.Sprintf("a.test:%d/tls", port), grant(port))
			c.client.RootCAs, c.client.ServerName = pool, "a.test"
			s := tls.Client(pieces{f.dial(0, port)}, c.client)
			if _, err := s.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(s); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
			_ = s.NetConn().(pieces).Close()
			if e := f.event(event.Close, event.Allowed); e.Said != "a.test" || e.Sent < 200 || e.Received < 200 {
				t.Errorf("%+v", e)
			}
			for _, name := range []string{"b.test", "", "A.TEST.evil.test"} {
				wrong := c.client.Clone()
				wrong.ServerName, wrong.InsecureSkipVerify = name, true
				err := tls.Client(f.dial(0, port), wrong).HandshakeContext(t.Context())
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("SNI %q: %v", name, err)
				}
				f.event(event.Connect, event.Denied)
			}
		})
	}
}

// manyProtocols make a ClientHello of more than 16 KiB, which no record holds.
func manyProtocols() (out []string) {
	for n := range 100 {
		out = append(out, fmt.Sprintf("%0250d", n))
	}
	return out
}

// TestTLSBypass: the upstream sees no byte of what is refused.
func TestTLSBypass(t *testing.T) {
	var reached atomic.Bool
	port := server(t, func(c *net.TCPConn) {
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			reached.Store(true)
		}
	})
	f := start(t, Options{Limits: Limits{Head: 300 * time.Millisecond}}, fmt.Sprintf("a.test:%d/tls", port), grant(port))
	ech := hello("a.test", extension(0xfe0d, []byte{1, 2, 3}))
	for name, packet := range map[string][]byte{
		"plain HTTP":        []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
		"SSL 2":             []byte("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x00\x00\x00\x00\x00"),
		"ssh":               []byte("SSH-2.0-x\r\n"),
		"no SNI":            records(hello(""), 1000),
		"other SNI":         records(hello("b.test"), 1000),
		"ECH":               records(ech, 1000),
		"SNI of UTF-8":      records(hello("ａ.test"), 1000),
		"full stop of CJK":  records(hello("a。test"), 1000),
		"space in SNI":      records(hello("a.test "), 1000),
		"two SNIs":          records(hello("a.test", extension(extensionSNI, sniData("b.test"))), 1000),
		"NUL in SNI":        records(hello("a.test\x00.b.test"), 1000),
		"address as SNI":    records(hello("127.0.0.1"), 1000),
		"empty record":      append([]byte{22, 3, 1, 0, 0}, records(hello("a.test"), 1000)...),
		"more after it":     records(append(hello("a.test"), hello("b.test")...), 1<<14),
		"half":              records(hello("a.test"), 1000)[:40],
		"data first":        append([]byte{23, 3, 3, 0, 1, 0}, records(hello("a.test"), 1000)...),
		"endless":           bytes.Repeat(records(append([]byte{1, 0, 0xff, 0xff}, make([]byte, 1000)...), 1), 2),
		"length of 16 MiB":  records(append([]byte{1, 0xff, 0xff, 0xff}, make([]byte, 100)...), 200),
		"other after a cut": append(records(hello("a.test"), 1000)[:60], records(hello("b.test"), 1000)...),
	} {
		c := f.dial(0, port)
		if _, err := c.Write(packet); err != nil {
			t.Logf("%s: write: %v", name, err)
		}
		if got, err := io.ReadAll(c); err == nil && len(got) != 7 {
			t.Errorf("%s: %q", name, got)
		}
		f.event(event.Connect, event.Denied)
	}
	if reached.Load() {
		t.Error("a byte got out")
	}
}

// TestRetrySwap: the answer to a HelloRetryRequest cannot name another host.
func TestRetrySwap(t *testing.T) {
	second := make(chan []byte, 1)
	retry := append([]byte{2, 0, 0, 40, 3, 3}, "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"...)
	retry = append(retry, make([]byte, 6)...)
	first := records(hello("a.test"), 1000)
	port := server(t, func(c *net.TCPConn) {
		if _, err := io.ReadFull(c, make([]byte, len(first))); err != nil {
			return
		}
		_, _ = c.Write(records(retry, 1000))
		rest, _ := io.ReadAll(c)
		second <- rest
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d/tls", port), grant(port))
	for _, name := range []string{"b.test", "a.test"} {
		c := f.dial(0, port)
		ccs := []byte{20, 3, 3, 0, 1, 1}
		next := append(append([]byte{}, ccs...), records(hello(name), 10)...)
		if _, err := c.Write(append(append([]byte{}, first...), next...)); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		want := next
		if name == "b.test" {
			want = ccs
			if e := f.event(event.Close, event.Denied); !strings.Contains(e.Reason, "names b.test") {
				t.Errorf("%+v", e)
			}
		}
		if got := <-second; !bytes.Equal(got, want) && (name != "b.test" || len(got) != 0) {
			t.Errorf("%s: upstream got %x", name, got)
		}
	}
}

func TestHTTP(t *testing.T) {
	var hosts []string
	var mu sync.Mutex
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts = append(hosts, r.Host)
		mu.Unlock()
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, "|"+r.Header.Get("Upgrade"))
	}))
	s.Start()
	defer s.Close()
	port := portOf(t, s.Listener.Addr())
	f := start(t, Options{}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	c := f.dial(0, port)
	br := bufio.NewReader(c)
	for _, r := range []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "|"},
		{fmt.Sprintf("GET http://A.test:%d/x HTTP/1.1\r\nhost:  a.test.:%d \r\n\r\n", port, port), "|"},
		{"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello", "hello|"},
		{"\r\nPOST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n00\r\nX: y\r\n\r\n", "hello|"},
		{"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", "|"},
	} {
		if _, err := io.WriteString(c, r.request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != r.want {
			t.Errorf("%q: %q, %v", r.request, got, err)
		}
	}
	// On the same connection, another host.
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(br)
	if err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 403 Forbidden\r\n") || !strings.Contains(string(said), "names b.test") {
		t.Errorf("Host swapped on a connection in use: %q, %v", said, err)
	}
	if e := f.event(event.Close, event.Denied); !strings.Contains(e.Reason, "names b.test") || e.Said != "b.test" {
		t.Errorf("%+v", e)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(hosts) != 5 {
		t.Errorf("requests for %q", hosts)
	}
}

func TestHTTPBypass(t *testing.T) {
	var reached atomic.Bool
	port := server(t, func(c *net.TCPConn) {
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			reached.Store(true)
		}
	})
	f := start(t, Options{Limits: Limits{Head: 300 * time.Millisecond}}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	for _, request := range badHeads() {
		c := f.dial(0, port)
		if _, err := io.WriteString(c, request); err != nil {
			t.Logf("write: %v", err)
		}
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if err == nil && len(got) != 0 && !strings.HasPrefix(string(got), "HTTP/1.1 403 ") {
			t.Errorf("%.60q: %q", request, got)
		}
		f.event(event.Connect, event.Denied)
	}
	if reached.Load() {
		t.Error("a byte got out")
	}
}

func TestUpgrade(t *testing.T) {
	port := server(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.URL.Path == "/no" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
			rest, _ := io.ReadAll(br)
			if len(rest) > 0 {
				t.Errorf("after a refused upgrade: %q", rest)
			}
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhi ")
		_, _ = io.Copy(c, br)
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	for path, want := range map[string]string{"/ws": "hi frames", "/no": "no"} {
		c := f.dial(0, port)
		_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(got), "\r\n\r\n"+want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestProxy(t *testing.T) {
	asked := make(chan string, 1)
	proxy := server(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		asked <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	f := start(t, Options{Proxy: func(policy.Host, uint16) (*url.URL, error) {
		return url.Parse(fmt.Sprintf("http://u:p@127.0.0.1:%d", proxy))
	}}, "a.test:2222")
	c := f.dial(0, 2222)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if got := <-asked; got != "CONNECT a.test:2222 Basic dTpw" {
		t.Errorf("asked %q", got)
	}
}

// A proxy is no way around the check of an address: it is not even asked.
func TestProxyOfAddress(t *testing.T) {
	proxy := server(t, func(*net.TCPConn) { t.Error("the proxy was asked") })
	f := start(t, Options{Proxy: func(policy.Host, uint16) (*url.URL, error) {
		return url.Parse(fmt.Sprintf("http://127.0.0.1:%d", proxy))
	}}, "0.0.0.0/0:80")
	for _, dst := range []string{"10.1.2.3:80", "169.254.169.254:80", "127.0.0.1:80"} {
		if !f.isReset(netip.MustParseAddrPort(dst)) {
			t.Errorf("%s is not reset", dst)
		}
		if e := f.event(event.Connect, event.Denied); !strings.Contains(e.Reason, "no rule grants it") {
			t.Errorf("%s: %+v", dst, e)
		}
	}
}

// An address that the host has got since it was asked for its own
// is noticed by the connection itself.
func TestOwnAddressLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	for late, want := range map[bool]bool{true: false, false: true} {
		g := &Gateway{dialer: dialer{o: Options{Dial: defaultDial}, late: late}}
		up, err := g.dialOne(t.Context(), target{addr: at})
		if err != nil {
			t.Fatal(err)
		}
		up, _, err = g.ownless(up, target{addr: at}, nil)
		if (err == nil) != want {
			t.Errorf("late %v: %v", late, err)
		}
		if up != nil {
			_ = up.Close()
		}
	}
}
