// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// The "host" that the gateway dials in is a namespace too, with servers on
// these addresses.
const (
	public   = "93.184.216.34"
	public6  = "2606:2800:220:1::1"
	private  = "10.1.2.3"
	metadata = "169.254.169.254"
)

type world struct {
	t  *thread
	ns *os.File

	mu   sync.Mutex
	seen map[string]int // connections by which a byte came, by the server's address and port
	all  map[string]net.Listener
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	th := startThread()
	tb.Cleanup(th.stop)
	ns, err := th.newNamespace()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ns.Close() })
	w := &world{t: th, ns: ns, seen: map[string]int{}, all: map[string]net.Listener{}}
	cert := certificate(tb)
	err = th.inside(ns, func() error {
		if err := withHandle(addresses); err != nil {
			return err
		}
		for _, addr := range []string{public, public6, private, metadata, "127.0.0.1"} {
			for _, port := range []string{"22", "80", "443", "5432"} {
				l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
				if err != nil {
					return err
				}
				tb.Cleanup(func() { _ = l.Close() })
				w.all[l.Addr().String()] = l
				go w.serve(l, port, cert)
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func addresses(h *netlink.Handle) error {
	if err := loopbackUp(h); err != nil {
		return err
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range []string{public + "/32", public6 + "/128", private + "/32", metadata + "/32"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := h.AddrAdd(lo, addr); err != nil {
			return err
		}
	}
	return nil
}

// counted counts connections by which something came.
type counted struct {
	net.Listener
	count func()
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		conn = &countedConn{Conn: conn, count: sync.OnceFunc(c.count)}
	}
	return conn, err
}

type countedConn struct {
	net.Conn
	count func()
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.count()
	}
	return n, err
}

func (w *world) serve(l net.Listener, port string, cert tls.Certificate) {
	l = counted{l, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[l.Addr().String()]++
	}}
	web := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			echoFrames(out)
			return
		}
		_, _ = io.WriteString(out, "hello from "+r.Host)
	})}
	switch port {
	case "80":
		_ = web.Serve(l)
	case "443":
		_ = web.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	default:
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(time.Millisecond) // no descriptors
				continue
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}
}

// echoFrames sends back what comes after a WebSocket's handshake.
func echoFrames(out http.ResponseWriter) {
	c, _, err := http.NewResponseController(out).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err == nil {
		_, _ = io.Copy(c, c)
	}
}

// stop ends a server.
func (w *world) stop(addr string) { _ = w.all[addr].Close() }

// reached returns how many connections a server has had.
func (w *world) reached(addr string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[addr]
}

func certificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"good.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// host is how the gateway reaches the world.
func (w *world) host() gateway.Options {
	return gateway.Options{
		Own: func() ([]netip.Addr, error) { return nil, nil },
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			addrs := map[string]string{
				"loop.test": "127.0.0.1", "meta.test": metadata, "mapped.test": "::ffff:127.0.0.1",
				"private.test": private, "db.test": private, "six.test": public6, "none.test": "8.8.4.4",
			}
			if a, ok := addrs[name]; ok {
				return []netip.Addr{netip.MustParseAddr(a)}, nil
			}
			return []netip.Addr{netip.MustParseAddr(public), netip.MustParseAddr(public6)}, nil
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (c *net.TCPConn, err error) {
			err = w.t.inside(w.ns, func() error {
				var d net.Dialer
				conn, err := d.DialContext(ctx, "tcp", to.String())
				if err == nil {
					c = conn.(*net.TCPConn)
				}
				return err
			})
			return c, err
		},
	}
}

type journal struct {
	mu   sync.Mutex
	seen []event.Event
}

func (j *journal) add(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, e)
}

func (j *journal) has(f func(event.Event) bool) bool {
	return testkit.Within(3*time.Second, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return slices.ContainsFunc(j.seen, f)
	})
}

func allow(tb testing.TB, rules ...string) *policy.Policy {
	tb.Helper()
	p, err := policy.New(rules, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func open(t modetest.T, o Options) (*Net, *box) {
	t.Helper()
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	o.Sandbox = "box"
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != before {
			t.Errorf("the process is in %s now, %v; it was in %s", after, err, before)
		}
	})
	b := newBox(t)
	if err := n.Connect(b.ns); err != nil {
		t.Fatal(err)
	}
	return n, b
}

func modes() []idmap.Mode { return []idmap.Mode{idmap.Root, idmap.Mapped, idmap.Single} }

func rules() []string {
	return []string{
		"good.test:22,80,81,443", "*.wild.test:80", "loop.test:80", "meta.test:80", "mapped.test:80", "private.test:80", "none.test:80",
		"db.test:5432", "six.test:22", "10.1.0.0/16:5432", "0.0.0.0/0:5433",
	}
}

// TestAllowed: what the policy names works, as an ordinary user and as root.
func TestAllowed(t *testing.T) {
	modetest.In(t, modes(), func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Events: j.add, Host: w.host()})
		if r := b.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")}); !strings.Contains(r.Text, "hello from good.test") {
			t.Errorf("%q", r.Text)
		}
		if r := b.works(order{Do: "tcp", Addr: "a.b.wild.test:80", Send: get("a.b.wild.test")}); !strings.Contains(r.Text, "hello from a.b.wild.test") {
			t.Errorf("%q", r.Text)
		}
		r := b.works(order{Do: "tls", Addr: "good.test:443", SNI: "good.test", Send: get("good.test")})
		if !strings.Contains(r.Text, "hello from good.test") {
			t.Errorf("%q", r.Text)
		}
		const size = 1 << 20
		for _, addr := range []string{"good.test:22", "db.test:5432", "six.test:22", private + ":5432"} {
			if r := b.works(order{Do: "tcp", Addr: addr, Send: strings.Repeat("x", size)}); r.N != size {
				t.Errorf("%s: %d bytes came back of %d", addr, r.N, size)
			}
		}
		names := b.works(order{Do: "lookup", Addr: "good.test"}).Names
		if len(names) != 2 {
			t.Errorf("addresses %v", names)
		}
		for _, a := range names {
			if back := b.works(order{Do: "ptr", Addr: a}).Names; len(back) != 1 || back[0] != "good.test." {
				t.Errorf("%s is %v", a, back)
			}
			if r := b.works(order{Do: "tcp", Addr: net.JoinHostPort(a, "22"), Send: "x"}); r.N != 1 {
				t.Errorf("%s: %+v", a, r)
			}
		}
		if !j.has(func(e event.Event) bool {
			return e.Kind == event.Close && e.Name == "good.test" && e.Port == 22 && e.Sent == size && e.Received == size
		}) {
			t.Errorf("no event of the connection's end: %+v", j.seen)
		}
		process := fmt.Sprintf("[%d]", b.cmd.Process.Pid)
		if !j.has(func(e event.Event) bool { return e.Kind == event.Connect && strings.HasSuffix(e.Process, process) }) {
			t.Errorf("no event names the process: %+v", j.seen)
		}
		// A connection is counted once its process has been looked for, which
		// it does not wait for.
		testkit.Eventually(t, soon, "four connections are counted", func() bool {
			s, err := n.Status()
			if err != nil || s.Version != 1 || len(s.Rules) != len(rules()) {
				t.Fatalf("%+v, %v", s, err)
			}
			return s.Rules[0].Count >= 4
		})
	})
}

// TestDenied: what the policy does not name fails at once, and nothing of it
// reaches a server, whatever root of a sandbox with every capability tries.
func TestDenied(t *testing.T) {
	modetest.In(t, modes(), func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Events: j.add, Host: w.host()})
		const refused, prohibited, reset = "refused", "no route to host", "reset"

		// Names.
		b.fails(order{Do: "lookup", Addr: "evil.test"}, "no such host")
		b.fails(order{Do: "lookup", Addr: strings.Repeat("secret.", 20) + "good.test"}, "no such host")
		for _, server := range []string{"8.8.8.8:53", public + ":53", "198.18.0.1:5353", "198.18.0.1:853"} {
			b.fails(order{Do: "dns", Addr: server, Send: "good.test."}, refused, prohibited, reset)
		}
		// Addresses, whether routed, mapped, local to R or nobody's.
		for _, addr := range []string{
			public + ":80", public + ":22", private + ":80", metadata + ":80", "8.8.8.8:443", "[" + public6 + "]:22", "[2001:db8::1]:80",
			"[::ffff:" + public + "]:80", "198.18.0.1:4096", "198.18.0.1:80", "198.18.200.200:80",
			"[fdc0:7a31:c59e::1]:4096", "[fdc0:7a31:c59e:1::9999]:80", "good.test:8080",
		} {
			b.fails(order{Do: "tcp", Addr: addr, Send: "x"}, refused)
		}
		b.fails(order{Do: "tcp", Addr: "8.8.8.8:5433", Send: "x"}, prohibited) // allowed, but nobody is there
		b.fails(order{Do: "tcp", Addr: private + ":5433", Send: "x"}, reset)
		b.fails(order{Do: "tcp", Addr: metadata + ":5433", Send: "x"}, reset)
		// Names that lead where they may not.
		for _, name := range []string{"loop.test", "meta.test", "mapped.test", "private.test"} {
			b.fails(order{Do: "tcp", Addr: name + ":80", Send: get(name)}, reset)
		}
		// Other protocols.
		for _, addr := range []string{"8.8.8.8:443", "good.test:443", "198.18.0.1:443"} {
			if host, port, _ := net.SplitHostPort(addr); host == "good.test" {
				addr = net.JoinHostPort(b.works(order{Do: "lookup", Addr: host}).Names[0], port)
			}
			b.fails(order{Do: "udp", Addr: addr, Send: "quic"}, prohibited, refused, "permission denied")
		}
		b.fails(order{Do: "raw", Addr: "8.8.8.8"}, prohibited, "timeout")
		b.fails(order{Do: "raw", Addr: "198.18.0.1"}, prohibited, "timeout")
		// A name for another.
		if r := b.do(order{Do: "tcp", Addr: "good.test:80", Send: get("evil.test")}); !strings.Contains(r.Text, "403 Forbidden") {
			t.Errorf("Host of another: %+v", r)
		}
		if r := b.do(order{Do: "tcp", Addr: "good.test:80", Send: "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"}); !strings.Contains(r.Text, "403 Forbidden") {
			t.Errorf("CONNECT: %+v", r)
		}
		b.fails(order{Do: "tls", Addr: "good.test:443", SNI: "evil.test", Send: get("good.test")}, "unrecognized name")
		b.fails(order{Do: "tls", Addr: "good.test:443", SNI: "", Send: get("good.test")}, "unrecognized name")
		// Abstract sockets of R and the host are in other namespaces.
		l, err := net.Listen("unix", "@cpc-netns-test")
		if err == nil {
			defer l.Close()
			b.fails(order{Do: "unix", Addr: "@cpc-netns-test"}, refused)
		}
		// Forged frames, then other addresses and routes.
		before := w.reached(public + ":80")
		for _, f := range frames() {
			b.works(order{Do: "frame", Bytes: f})
		}
		b.works(order{Do: "arp"})
		b.fails(order{Do: "tcp", Addr: public + ":80", Send: get("good.test"), Wait: time.Second}, refused, "timeout", prohibited)
		if got := w.reached(public + ":80"); got != before {
			t.Errorf("%d connections reached %s", got-before, public)
		}
		for _, addr := range []string{"127.0.0.1:80", metadata + ":80", private + ":80"} {
			if got := w.reached(addr); got != 0 {
				t.Errorf("%d connections reached %s", got, addr)
			}
		}
		if !j.has(func(e event.Event) bool {
			return e.Kind == event.Packet && e.Addr.String() == "8.8.8.8" && e.Port == 443 && e.Proto == "tcp" && e.Verdict == event.Denied
		}) {
			t.Error("no event of a refused packet")
		}
		if s, err := n.Status(); err != nil || s.Refused < 10 || s.Forged < 2 {
			t.Errorf("%d packets refused, %d forged, %v", s.Refused, s.Forged, err)
		}
		// After all that, it still works.
		b.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")})
	})
}

// frames are forged: from another source, an ARP claim to be the gateway, a
// neighbour advertisement, fragments, and a redirect.
func frames() [][]byte {
	gw, own := []byte{2, 'c', 'p', 'c', 0, 1}, []byte{2, 'c', 'p', 'c', 0, 2}
	eth := func(kind uint16, body ...[]byte) []byte {
		f := append(append([]byte{}, gw...), own...)
		f = binary.BigEndian.AppendUint16(f, kind)
		return append(f, bytes.Join(body, nil)...)
	}
	ip4 := func(src, dst [4]byte, flags uint16, proto byte, body []byte) []byte {
		h := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, byte(flags >> 8), byte(flags), 64, proto, 0, 0}
		h = append(append(h, src[:]...), dst[:]...)
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
		return append(h, body...)
	}
	syn := []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	dst := [4]byte{93, 184, 216, 34}
	arp := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, own...)
	arp = append(append(append(arp, 198, 18, 0, 1), gw...), 198, 18, 0, 1)
	return [][]byte{
		eth(0x0800, ip4([4]byte{10, 0, 0, 1}, dst, 0, 6, syn)),
		eth(0x0800, ip4([4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 1}, 0, 6, syn)),
		eth(0x0800, ip4([4]byte{198, 18, 0, 1}, [4]byte{198, 18, 0, 1}, 0, 17, []byte{0, 53, 0, 53, 0, 8, 0, 0})),
		eth(0x0800, ip4([4]byte{198, 18, 0, 2}, dst, 0x2000, 6, syn[:8])),
		eth(0x0800, ip4([4]byte{198, 18, 0, 2}, dst, 2, 6, syn[8:])),
		eth(0x0800, ip4([4]byte{198, 18, 0, 2}, [4]byte{198, 18, 0, 1}, 0, 1, []byte{5, 1, 0, 0, 10, 0, 0, 1})),
		eth(0x0800, []byte{0x4f}), eth(0x86dd, []byte{0x60}), eth(0x0806, arp), eth(0x8100, []byte{0, 1, 8, 0}),
	}
}

// TestChange: a change of the policy takes effect at once, on connections and
// names that are there.
func TestChange(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		one := allow(t.T, "good.test:22", "10.1.0.0/16:5432")
		n, b := open(t, Options{Policy: one, Host: w.host()})
		b.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
		b.works(order{Do: "tcp", Addr: private + ":5432", Send: "x"})
		two, err := one.With([]string{"good.test:80", "other.test:22"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.SetPolicy(two); err != nil {
			t.Fatal(err)
		}
		b.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")})
		b.works(order{Do: "tcp", Addr: "other.test:22", Send: "x"})
		three, err := two.Without("good.test:22", "10.1.0.0/16:5432")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.SetPolicy(three); err != nil {
			t.Fatal(err)
		}
		b.fails(order{Do: "tcp", Addr: "good.test:22", Send: "x"}, "refused")
		b.fails(order{Do: "tcp", Addr: private + ":5432", Send: "x"}, "refused")
		b.works(order{Do: "tcp", Addr: "other.test:22", Send: "x"})
		if _, err := n.SetPolicy(two); err == nil {
			t.Error("an older version was put in force")
		}
		if d, err := n.Test(t.Context(), "GOOD.test.", 80); err != nil || !d.Allowed || d.Version != 3 {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// TestFate: a host that refuses is seen to refuse, by the first try.
func TestFate(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		_, b := open(t, Options{Policy: allow(t.T, rules()...), Events: j.add, Host: w.host()})
		for range 3 {
			b.fails(order{Do: "tcp", Addr: "good.test:81", Send: "x"}, "refused")
			b.fails(order{Do: "tcp", Addr: "none.test:80", Send: "x"}, "no route to host")
			b.fails(order{Do: "tcp", Addr: "8.8.8.8:5433", Send: "x"}, "no route to host")
			time.Sleep(fate)
		}
		for name, why := range map[string]string{"good.test": "connection refused", "none.test": "unreachable"} {
			if !j.has(func(e event.Event) bool {
				return e.Kind == event.Connect && e.Verdict == event.Failed && e.Name == name && e.Reason == why && e.Process != "" && e.Rule != ""
			}) {
				t.Errorf("no event of %s: %+v", name, j.seen)
			}
		}
		// A host that was there a moment ago: the first try is reset (or refused, where the
		// moment was long), the next refused.
		b.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
		w.stop(public + ":22")
		w.stop("[" + public6 + "]:22")
		b.fails(order{Do: "tcp", Addr: "good.test:22", Send: "x"}, "reset", "refused")
		b.fails(order{Do: "tcp", Addr: "good.test:22", Send: "x"}, "refused")
		time.Sleep(fate)
		b.fails(order{Do: "tcp", Addr: "good.test:22", Send: "x"}, "refused")
	})
}

// TestFirst: connections at once to a host that none has been made to, all of which
// wait for the same attempt; and a host that does not answer.
func TestFirst(t *testing.T) {
	modetest.In(t, modes(), func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		o := w.host()
		dial := o.Dial
		o.Dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
			if to.Port() == 5432 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, to)
		}
		_, b := open(t, Options{Policy: allow(t.T, "good.test:22,5432", "six.test:22"), Events: j.add, Host: o, Limits: gateway.Limits{Connect: time.Second}})
		for _, name := range []string{"good.test", "six.test"} {
			for _, addr := range b.works(order{Do: "lookup", Addr: name}).Names {
				r := b.works(order{Do: "many", Addr: net.JoinHostPort(addr, "22"), N: 40, Wait: patience})
				if r.N != 40 {
					t.Errorf("%s: %d of 40 connections were served", addr, r.N)
				}
				t.Logf("%s: 40 connections took %v", addr, r.Took)
			}
		}
		b.fails(order{Do: "tcp", Addr: "good.test:5432", Send: "x", Wait: 3 * time.Second}, "timeout")
		if !j.has(func(e event.Event) bool {
			return e.Verdict == event.Failed && e.Port == 5432 && e.Reason == string(gateway.Timeout)
		}) {
			t.Errorf("no event of a timeout: %+v", j.seen)
		}
	})
}

// TestFlood: ten thousand connections take no more than their share, and what
// is refused is counted.
func TestFlood(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		n, b := open(t, Options{
			Policy: allow(t.T, rules()...), Events: j.add, Host: w.host(), Limits: gateway.Limits{Conns: 64, PerSecond: 50},
		})
		addr := b.works(order{Do: "lookup", Addr: "good.test"}).Names[0] + ":22"
		r := b.works(order{Do: "many", Addr: addr, N: 10000})
		if r.N == 0 || r.N > 100+50*(int(r.Took/time.Second)+1) {
			t.Errorf("%d connections were served in %v", r.N, r.Took)
		}
		const packets = 500
		b.works(order{Do: "flood", Addr: "8.8.8.8:25", N: packets})
		if s, err := n.Status(); err != nil || s.Refused < packets {
			t.Errorf("%d refused, %v", s.Refused, err)
		}
		time.Sleep(2 * time.Second) // the rate recovers
		b.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		var told uint64
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, e := range j.seen {
			if e.Kind == event.Packet {
				told += max(e.Count, 1)
			}
		}
		if told < packets || len(j.seen) > 5000 {
			t.Errorf("%d of %d packets on record, in %d events", told, packets, len(j.seen))
		}
		b.fails(order{Do: "tcp", Addr: addr, Send: "x"}, "unreachable")
	})
}

// TestTwoSandboxes: one does not reach the other, though both have the same
// addresses.
func TestTwoSandboxes(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		_, one := open(t, Options{Policy: allow(t.T, "good.test:22"), Host: w.host()})
		_, two := open(t, Options{Policy: allow(t.T, "other.test:22"), Host: w.host()})
		addr := one.works(order{Do: "lookup", Addr: "good.test"}).Names[0]
		two.fails(order{Do: "tcp", Addr: net.JoinHostPort(addr, "22"), Send: "x"}, "refused")
		two.fails(order{Do: "lookup", Addr: "good.test"}, "no such host")
		two.works(order{Do: "tcp", Addr: "other.test:22", Send: "x"})
		one.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
	})
}

// TestLearn: everything is refused, and on record with its name and port.
func TestLearn(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		_, b := open(t, Options{Events: j.add, Learn: true, Host: w.host()})
		b.fails(order{Do: "tcp", Addr: "any.test:8443", Send: "x"}, "reset")
		b.fails(order{Do: "tcp", Addr: "9.9.9.9:99", Send: "x"}, "reset")
		if !j.has(func(e event.Event) bool {
			return e.Kind == event.Connect && e.Verdict == event.Denied && e.Name == "any.test" && e.Port == 8443
		}) {
			t.Errorf("%+v", j.seen)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		got := Smallest(j.seen)
		if strings.Join(got, " ") != "9.9.9.9:99 any.test:8443" {
			t.Errorf("learnt %q", got)
		}
		if w.reached(public+":80") != 0 {
			t.Error("something got out")
		}
	})
}

// TestOwn: the caller's namespace is never taken for a sandbox's.
func TestOwn(t *testing.T) {
	if _, err := OfProcess(os.Getpid()); !errors.Is(err, errOwn) {
		t.Errorf("%v", err)
	}
}

// TestNoLeaks: opening and closing leaves no descriptor.
func TestNoLeaks(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		// Each box keeps the two pipes to its program until the test ends.
		testkit.KeepsNone(t, 3, func() {
			b := newBox(t)
			defer b.ns.Close()
			n, err := Open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(n.Connect(b.ns), n.Close()); err != nil {
				t.Fatal(err)
			}
		})
	})
}
