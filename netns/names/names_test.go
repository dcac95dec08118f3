// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// hook notes what is let through.
type hook struct {
	open map[netip.Addr]bool
	err  error
}

func (h *hook) Added(e Entry) error {
	if h.err == nil {
		h.open[e.V4] = true
	}
	return h.err
}

func (h *hook) Removed(e Entry) error { delete(h.open, e.V4); return nil }

func pool(tb testing.TB, o PoolOptions) *Pool {
	tb.Helper()
	o.V4, o.V6, o.Skip = netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fdc1::/64"), 256
	p, err := NewPool(o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

type fixture struct {
	*Server
	pool *Pool
	mu   sync.Mutex
	seen []event.Event
}

func newServer(tb testing.TB, rules ...string) *fixture {
	tb.Helper()
	pol, err := policy.New(rules, nil)
	if err != nil {
		tb.Fatal(err)
	}
	f := &fixture{pool: pool(tb, PoolOptions{Most: 100})}
	f.Server = NewServer(Options{Policy: func() *policy.Policy { return pol }, Pool: f.pool, Record: func(e event.Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen = append(f.seen, e)
	}})
	return f
}

// serve runs the server on loopback.
func (f *fixture) serve(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u, l := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.ServeUDP(ctx, u); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := f.ServeTCP(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return u.LocalAddr().String()
}

// listen returns listeners for both transports with one number, which the
// first may get while the second has it already from somebody else.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		u, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp4", u.LocalAddr().String())
		if err == nil {
			return u, l
		}
		t.Log(err)
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no number is free for both transports")
	return nil, nil
}

func ask(t *testing.T, s *fixture, name string, typ uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	raw, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(s.answer(raw, false)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if r.Id != q.Id || !r.Response {
		t.Fatalf("%s: not an answer to the question: %v", name, r)
	}
	return r
}

func TestNames(t *testing.T) {
	s := newServer(t, "a.test:443", "*.b.test:80", "10.0.0.0/8:1")
	for _, c := range []struct {
		name  string
		typ   uint16
		rcode int
		n     int
	}{
		{"a.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"A.TesT.", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{"a.test.", dns.TypeHTTPS, dns.RcodeSuccess, 0},
		{"a.test.", dns.TypeSVCB, dns.RcodeSuccess, 0},
		{"a.test.", dns.TypeTXT, dns.RcodeSuccess, 0},
		{"a.test.", dns.TypeANY, dns.RcodeSuccess, 0},
		{"a.test.", dns.TypeAXFR, dns.RcodeRefused, 0},
		{"x.b.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"b.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"secret.a.test.", dns.TypeTXT, dns.RcodeNameError, 0},
		{"example.com.", dns.TypeA, dns.RcodeNameError, 0},
		{".", dns.TypeNS, dns.RcodeNameError, 0},
		{"test.", dns.TypeA, dns.RcodeNameError, 0},
		{"127.0.0.1.", dns.TypeA, dns.RcodeNameError, 0},
		{"a\\000.b.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"a\\.x.b.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"localhost.", dns.TypeA, dns.RcodeSuccess, 1},
		{"1.0.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, 0},
		{"x.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, 0},
	} {
		r := ask(t, s, c.name, c.typ)
		if r.Rcode != c.rcode || len(r.Answer) != c.n {
			t.Errorf("%s %s: %s, %v", c.name, dns.TypeToString[c.typ], dns.RcodeToString[r.Rcode], r.Answer)
		}
	}
	four := ask(t, s, "a.test.", dns.TypeA).Answer[0].(*dns.A).A.String()
	six := ask(t, s, "a.test.", dns.TypeAAAA).Answer[0].(*dns.AAAA).AAAA.String()
	for _, a := range []string{four, six} {
		arpa, err := dns.ReverseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		r := ask(t, s, arpa, dns.TypePTR)
		if len(r.Answer) != 1 || r.Answer[0].(*dns.PTR).Ptr != "a.test." {
			t.Errorf("%s: %v", arpa, r)
		}
		if name, ok := s.pool.Lookup(netip.MustParseAddr(a)); !ok || name != "a.test" {
			t.Errorf("%s stands for %q", a, name)
		}
	}
	if len(s.seen) < 15 || s.seen[0].Verdict != event.Allowed || s.seen[0].Version != 1 {
		t.Errorf("record: %d events, %+v", len(s.seen), s.seen[0])
	}
}

// TestReplies: what resolvers rely on. The case of a question comes back (0x20),
// types that a name has not are no error but an empty answer with an SOA, and the
// size that the asker can take is kept to.
func TestReplies(t *testing.T) {
	s := newServer(t, "a.test:443")
	for _, typ := range []uint16{
		dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeCNAME, dns.TypeANY,
		dns.TypeTXT, dns.TypeSRV, dns.TypeDNSKEY, dns.TypeDS, dns.TypePTR, dns.TypeCAA, 65280,
	} {
		for _, name := range []string{"a.test.", "A.tEsT.", "NoNe.TeSt."} {
			for _, size := range []int{-1, 0, 511, 512, 4096, 65535} {
				q := new(dns.Msg)
				q.SetQuestion(name, typ)
				if size >= 0 {
					q.SetEdns0(uint16(size), size%2 == 0)
				}
				raw, err := q.Pack()
				if err != nil {
					t.Fatal(err)
				}
				out := s.answer(raw, false)
				r := new(dns.Msg)
				if err := r.Unpack(out); err != nil || len(out) > 512 || r.Truncated {
					t.Fatalf("%s: %v, %d bytes, %v", name, err, len(out), r)
				}
				want, records := dns.RcodeSuccess, 0
				switch {
				case name == "NoNe.TeSt.":
					want = dns.RcodeNameError
				case typ == dns.TypeA, typ == dns.TypeAAAA:
					records = 1
				}
				if r.Rcode != want || len(r.Answer) != records || len(r.Ns) != 1-records || r.Question[0] != q.Question[0] || !r.RecursionAvailable {
					t.Errorf("%s %d, %d bytes: %v", name, typ, size, r)
				}
				if records == 1 && r.Answer[0].Header().Name != name {
					t.Errorf("%s is answered as %s", name, r.Answer[0].Header().Name)
				}
				if opt := r.IsEdns0(); (opt != nil) != (size >= 0) || opt != nil && opt.UDPSize() != udpSize {
					t.Errorf("%s, %d bytes: EDNS %v", name, size, opt)
				}
			}
		}
	}
}

// TestBothAtOnce: as glibc, musl and Go do, A and AAAA from one socket without
// waiting; each answer belongs to its question.
func TestBothAtOnce(t *testing.T) {
	s := newServer(t, "a.test:443")
	c, err := net.Dial("udp", s.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	asked := map[uint16]uint16{1: dns.TypeA, 2: dns.TypeAAAA}
	for id, typ := range asked {
		q := new(dns.Msg)
		q.SetQuestion("a.test.", typ)
		q.Id = id
		raw, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		r := new(dns.Msg)
		if err := r.Unpack(b[:n]); err != nil || len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != asked[r.Id] {
			t.Errorf("%v, %v", r, err)
		}
		delete(asked, r.Id)
	}
}

// TestOnlyIPv4: where the sandbox has no IPv6, a name has no AAAA record, and
// exists.
func TestOnlyIPv4(t *testing.T) {
	s := newServer(t, "a.test:443")
	p, err := NewPool(PoolOptions{V4: netip.MustParsePrefix("198.18.0.0/15"), Most: 10})
	if err != nil {
		t.Fatal(err)
	}
	s.o.Pool = p
	if r := ask(t, s, "a.test.", dns.TypeAAAA); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("%v", r)
	}
	if r := ask(t, s, "a.test.", dns.TypeA); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}

func TestOddMessages(t *testing.T) {
	s := newServer(t, "a.test:443")
	two := new(dns.Msg)
	two.SetQuestion("a.test.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	notify := new(dns.Msg)
	notify.SetNotify("a.test.")
	chaos := new(dns.Msg)
	chaos.SetQuestion("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	future := new(dns.Msg)
	future.SetQuestion("a.test.", dns.TypeA)
	future.SetEdns0(4096, true)
	future.IsEdns0().SetVersion(1)
	edns := new(dns.Msg)
	edns.SetQuestion("a.test.", dns.TypeA)
	edns.SetEdns0(4096, true)
	for i, c := range []struct {
		q    *dns.Msg
		want int
	}{
		{two, dns.RcodeFormatError},
		{notify, dns.RcodeNotImplemented},
		{chaos, dns.RcodeRefused},
		{future, dns.RcodeBadVers},
		{edns, dns.RcodeSuccess},
	} {
		raw, err := c.q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		r := new(dns.Msg)
		if err := r.Unpack(s.answer(raw, false)); err != nil || r.Rcode != c.want {
			t.Errorf("%d: %v, %v", i, r, err)
		}
		if (c.q.IsEdns0() != nil) != (r.IsEdns0() != nil) {
			t.Errorf("%d: EDNS is not answered in kind", i)
		}
	}
	reply := new(dns.Msg)
	reply.SetQuestion("a.test.", dns.TypeA)
	reply.Response = true
	raw, err := reply.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, silent := range [][]byte{raw, nil, {1}, make([]byte, 11)} {
		if out := s.answer(silent, false); out != nil {
			t.Errorf("%x was answered", silent)
		}
	}
	if out := s.answer([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff"), false); len(out) != 12 || out[3] != dns.RcodeFormatError {
		t.Errorf("a malformed question: %x", out)
	}
}

func TestTransports(t *testing.T) {
	s := newServer(t, "a.test:443")
	at := s.serve(t)
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network, Timeout: 5 * time.Second}
		q := new(dns.Msg)
		q.SetQuestion("a.test.", dns.TypeA)
		r, _, err := c.ExchangeContext(t.Context(), q, at)
		if err != nil || len(r.Answer) != 1 {
			t.Errorf("%s: %v, %v", network, r, err)
		}
	}
	// Connections that say nothing take no more than their share.
	var held []net.Conn
	for range maxConns + 4 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	last := held[len(held)-1]
	if err := last.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if _, err := last.Read(make([]byte, 1)); err == nil || errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("one connection too many was kept: %v", err)
	}
	for _, c := range held {
		_ = c.Close()
	}
}

func TestPool(t *testing.T) {
	h := &hook{open: map[netip.Addr]bool{}}
	busy := ""
	p := pool(t, PoolOptions{Most: 3, Hook: h, Busy: func(n string) bool { return n == busy }})
	first, err := p.Of("n0")
	if err != nil || first.V4 != netip.MustParseAddr("198.18.1.0") || first.V6 != netip.MustParseAddr("fdc1::100") {
		t.Fatalf("%v, %v", first, err)
	}
	busy = "n0"
	for i := range 1000 {
		if _, err := p.Of(fmt.Sprintf("n%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.open) != 3 || len(p.byAddr) != 6 || p.recent.Len() != 3 {
		t.Errorf("%d open, %d addresses, %d names", len(h.open), len(p.byAddr), p.recent.Len())
	}
	if n, ok := p.Lookup(first.V4); !ok || n != "n0" {
		t.Errorf("a name in use lost its address to %q", n)
	}
	h.err = errors.New("no")
	if _, err := p.Of("other"); !errors.Is(err, h.err) {
		t.Errorf("%v, want the hook's error", err)
	}
	if _, ok := p.byName["other"]; ok {
		t.Error("an address was given out that is not let through")
	}
	for _, o := range []PoolOptions{
		{V4: netip.MustParsePrefix("198.18.0.0/24"), Most: 300},
		{V4: netip.MustParsePrefix("fd00::/64")},
		{},
		{V4: netip.MustParsePrefix("198.18.0.0/15"), V6: netip.MustParsePrefix("fd00::/120")},
	} {
		if _, err := NewPool(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestFromArpa(t *testing.T) {
	for _, a := range []string{"1.2.3.4", "fd00::1:2", "::ffff:1.2.3.4"} {
		arpa, err := dns.ReverseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := fromArpa(arpa)
		if want := netip.MustParseAddr(a); !ok || got != want && got != want.Unmap() {
			t.Errorf("%s: %v", arpa, got)
		}
	}
}

// FuzzPacket: no packet gets an answer that is not one, or an address of a
// name that is not allowed.
func FuzzPacket(f *testing.F) {
	for _, name := range []string{"a.test.", "x.test.", "4.3.2.1.in-addr.arpa.", strings.Repeat("a.", 100)} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		q.SetEdns0(1232, false)
		raw, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		s := newServer(t, "a.test:443")
		out := s.answer(packet, false)
		if out == nil {
			return
		}
		if len(out) > udpSize || len(out) < 12 || out[2]&0x80 == 0 || string(out[:2]) != string(packet[:2]) {
			t.Fatalf("%x answers %x", out, packet)
		}
		var r dns.Msg
		if err := r.Unpack(out); err != nil {
			t.Fatalf("%x: %v", out, err)
		}
		for _, rr := range r.Answer {
			name := strings.ToLower(rr.Header().Name)
			if name != "a.test." && !strings.HasSuffix(name, "localhost.") {
				t.Fatalf("answer %v", rr)
			}
		}
	})
}
