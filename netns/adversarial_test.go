// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
)

// attack is a sandbox whose root, with every capability there, tries to get
// out, and what the host has seen of it.
type attack struct {
	*box
	t *testing.T
	n *Net
	w *world

	mu       sync.Mutex
	resolved []string // names that the host was asked for
	dialled  []netip.AddrPort
	moving   bool // rebind.test has a public address and the host's in turn
	rebound  int
}

// soon is how long a refusal may take, on a machine that is busy.
const soon = 30 * time.Second

// TestAdversarial is the list of what must not work, each by its name. After
// each, what the policy allows works still, and no server has had a connection
// that the policy does not allow.
func TestAdversarial(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t modetest.T) {
		a := &attack{t: t.T, w: newWorld(t.T)}
		a.n, a.box = open(t, Options{
			Policy: allow(t.T, append(rules(), "rebind.test:80")...), Host: a.host(), Limits: gateway.Limits{Head: time.Second, Conns: 64, PerSecond: 5000},
		})
		for _, c := range []struct {
			name string
			try  func(*attack)
		}{
			{"direct IP", (*attack).directIP},
			{"another DNS server", (*attack).otherServer},
			{"DNS over TCP, TLS and HTTPS", (*attack).otherTransports},
			{"DNS tunnelling", (*attack).tunnel},
			{"wrong or missing SNI", (*attack).sni},
			{"ECH", (*attack).ech},
			{"Host swap on a kept-alive connection", (*attack).hostSwap},
			{"request smuggling", (*attack).smuggle},
			{"CONNECT through an allowed host", (*attack).connect},
			{"names that lead inside", (*attack).inward},
			{"rebinding between check and dial", (*attack).rebind},
			{"IPv6 and mapped addresses", (*attack).mapped},
			{"ICMP", (*attack).icmp},
			{"UDP 443", (*attack).quic},
			{"raw and packet sockets", (*attack).rawSockets},
			{"ARP and NDP spoofing", (*attack).spoof},
			{"fragments", (*attack).fragments},
			{"extension headers, options and tunnels", (*attack).headers},
			{"TCP segments out of order", (*attack).oddTCP},
			{"half-open connections", (*attack).halfOpen},
			{"slow-loris connections", (*attack).slow},
			{"the gateway's own ports", (*attack).ownPorts},
			{"abstract sockets of the host", (*attack).abstract},
			{"the interface elsewhere", (*attack).moved},
			{"own packet filter and routes", (*attack).ownRules},
		} {
			t.Run(c.name, func(t *testing.T) {
				a.t, a.box.t = t, t
				c.try(a)
				a.unharmed()
			})
		}
	})
}

// host is the world, which keeps what it was asked for.
func (a *attack) host() gateway.Options {
	o := a.w.host()
	resolve, dial := o.Resolve, o.Dial
	o.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.resolved = append(a.resolved, name)
		if name == "rebind.test" && a.moving { // public when asked first, then not
			if a.rebound++; a.rebound%2 == 0 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
		}
		return resolve(ctx, name)
	}
	o.Dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		a.mu.Lock()
		a.dialled = append(a.dialled, to)
		a.mu.Unlock()
		return dial(ctx, to)
	}
	return o
}

// unharmed: the gateway lives, and only what may be dialled was.
func (a *attack) unharmed() {
	a.t.Helper()
	if r := a.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")}); !strings.Contains(r.Text, "hello from good.test") {
		a.t.Errorf("what is allowed does not work any more: %+v", r)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, to := range a.dialled {
		if ip := to.Addr().String(); ip != public && ip != public6 && ip != "8.8.4.4" {
			a.t.Errorf("the gateway dialled %s", to)
		}
	}
}

func (a *attack) directIP() {
	for _, to := range []string{public + ":80", public + ":443", "8.8.8.8:443", private + ":80", metadata + ":80", "198.18.99.99:80"} {
		a.fails(order{Do: "tcp", Addr: to, Send: get("good.test")}, "refused")
	}
}

func (a *attack) otherServer() {
	for _, server := range []string{"8.8.8.8:53", public + ":53", metadata + ":53", "198.18.0.1:5353"} {
		a.fails(order{Do: "dns", Addr: server, Send: "good.test."}, "refused", "no route to host", "reset", "permission denied")
	}
}

func (a *attack) otherTransports() {
	for _, to := range []string{"8.8.8.8:53", "8.8.8.8:853", "1.1.1.1:443", "198.18.0.1:853", "198.18.0.1:443", "good.test:853"} {
		a.fails(order{Do: "tcp", Addr: to, Send: "x"}, "refused")
	}
	a.fails(order{Do: "lookup", Addr: "dns.google"}, "no such host")
}

// tunnel: no label leaves, neither of names that are denied nor of allowed
// wildcards that are only asked for.
func (a *attack) tunnel() {
	secret := strings.Repeat("5ec4e7.", 20)
	a.fails(order{Do: "lookup", Addr: secret + "evil.test"}, "no such host")
	a.fails(order{Do: "lookup", Addr: secret + "good.test"}, "no such host")
	a.works(order{Do: "lookup", Addr: "5ec4e7.wild.test"})
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.IndexFunc(a.resolved, func(name string) bool { return strings.Contains(name, "5ec4e7") }); i >= 0 {
		a.t.Errorf("the host was asked for %s", a.resolved[i])
	}
}

func (a *attack) sni() {
	for _, name := range []string{"evil.test", "", "good.test.evil.test", "127.0.0.1"} {
		a.fails(order{Do: "tls", Addr: "good.test:443", SNI: name, Send: get("good.test")}, "unrecognized name")
	}
	// No TLS at all, which is answered with an alert.
	if r := a.do(order{Do: "tcp", Addr: "good.test:443", Send: get("good.test")}); r.Err == "" && !strings.HasPrefix(r.Text, "\x15") {
		a.t.Errorf("plain text on a TLS port: %+v", r)
	}
}

func (a *attack) ech() {
	const encrypted = 0xfe0d
	before := a.count(public + ":443")
	r := a.do(order{Do: "tcp", Addr: "good.test:443", Bytes: withExtension(a.t, "good.test", encrypted, []byte{0, 0, 1, 0, 1, 0, 0, 0, 0, 0})})
	if !strings.HasPrefix(r.Text, "\x15") && r.Err == "" { // an alert
		a.t.Errorf("a ClientHello with ECH was answered: %+v", r)
	}
	if got := a.count(public + ":443"); got != before {
		a.t.Errorf("%d connections were made for it", got-before)
	}
	// The same one without the extension is let through.
	if r := a.do(order{Do: "tcp", Addr: "good.test:443", Bytes: withExtension(a.t, "good.test", 0, nil)}); !strings.HasPrefix(r.Text, "\x16") {
		a.t.Errorf("a plain ClientHello: %+v", r)
	}
}

func (a *attack) count(server string) int { return a.w.reached(server) }

// withExtension returns a ClientHello of crypto/tls with one more extension, if
// kind is not 0.
func withExtension(t *testing.T, name string, kind uint16, body []byte) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}).Handshake() //nolint:noctx // over a pipe
	}()
	hello := make([]byte, 16<<10)
	if err := theirs.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	n, err := theirs.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	hello = hello[:n]
	if kind == 0 {
		return hello
	}
	const record, handshake = 5, 4
	at := record + handshake + 2 + 32
	at += 1 + int(hello[at])                           // session
	at += 2 + int(binary.BigEndian.Uint16(hello[at:])) // cipher suites
	at += 1 + int(hello[at])                           // compression
	length := int(binary.BigEndian.Uint16(hello[at:])) // extensions
	ext := binary.BigEndian.AppendUint16(nil, kind)
	ext = append(binary.BigEndian.AppendUint16(ext, uint16(len(body))), body...)
	hello = append(hello, ext...)
	binary.BigEndian.PutUint16(hello[at:], uint16(length+len(ext)))
	binary.BigEndian.PutUint16(hello[3:], uint16(len(hello)-record))
	hello[record+1] = 0
	binary.BigEndian.PutUint16(hello[record+2:], uint16(len(hello)-record-handshake))
	return hello
}

func (a *attack) hostSwap() {
	first := "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n"
	r := a.do(order{Do: "two", Addr: "good.test:80", Send: first, Bytes: []byte(get("evil.test"))})
	if !strings.Contains(r.Err, "reset") && !strings.Contains(r.Text, "403 Forbidden") || strings.Contains(r.Text, "hello from") {
		a.t.Errorf("the second of two requests: %+v", r)
	}
	// Both at once: the refusal may overtake the first answer.
	if r := a.do(order{Do: "tcp", Addr: "good.test:80", Send: first + get("evil.test")}); strings.Contains(r.Text, "hello from evil.test") {
		a.t.Errorf("two requests at once: %+v", r)
	}
	a.refuses("good.test:80", get("evil.test"), "GET http://evil.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\n\r\n", "GET / HTTP/1.0\r\n\r\n")
}

// refuses: none of the requests reaches a server as one for evil.test.
func (a *attack) refuses(to string, requests ...string) {
	a.t.Helper()
	for _, text := range requests {
		r := a.do(order{Do: "tcp", Addr: to, Send: text})
		if strings.Contains(r.Text, "hello from evil.test") || r.Err == "" && !strings.Contains(r.Text, "403 Forbidden") {
			a.t.Errorf("%q: %+v", text, r)
		}
	}
}

func (a *attack) smuggle() {
	const head = "POST / HTTP/1.1\r\nHost: good.test\r\n"
	evil := get("evil.test")
	a.refuses("good.test:80",
		head+"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+evil,
		head+fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(evil))+evil,
		head+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"+evil,
		head+"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"+evil,
		head+"Content-Length: +0\r\n\r\n"+evil,
		head+" folded: x\r\nContent-Length: 0\r\n\r\n"+evil,
		"GET / HTTP/1.1\nHost: good.test\n\n"+evil,
		"GET / HTTP/1.1\r\nHost: good.test\x00evil.test\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	)
}

func (a *attack) connect() {
	a.refuses("good.test:80", "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
		"CONNECT evil.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n", "CONNECT good.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n")
}

func (a *attack) inward() {
	for _, name := range []string{"loop.test", "meta.test", "mapped.test", "private.test"} {
		a.fails(order{Do: "tcp", Addr: name + ":80", Send: get(name)}, "reset", "refused")
	}
	for _, server := range []string{"127.0.0.1:80", metadata + ":80", private + ":80"} {
		if got := a.count(server); got != 0 {
			a.t.Errorf("%d connections reached %s", got, server)
		}
	}
}

// rebind: the address that was checked is the one that is dialled, and each
// connection is checked anew.
// rebind: a program connects to both addresses of a name where the first takes long,
// so how often one order has the gateway ask for the name is not known. Each
// connection goes where the answer that was checked says, or nowhere (see unharmed).
func (a *attack) rebind() {
	connect := order{Do: "tcp", Addr: "rebind.test:80", Send: get("rebind.test")}
	a.works(connect)
	a.mu.Lock()
	a.moving = true
	a.mu.Unlock()
	var served, refused int
	for n := 0; n < 40 && (served == 0 || refused == 0); n++ {
		switch r := a.do(connect); {
		case r.Err == "":
			served++
		case strings.Contains(r.Err, "reset"), strings.Contains(r.Err, "refused"):
			refused++
		default:
			a.t.Errorf("%+v", r)
		}
	}
	if refused == 0 {
		a.t.Errorf("%d connections were served, and none was refused", served)
	}
}

func (a *attack) mapped() {
	for _, to := range []string{"[" + public6 + "]:80", "[::ffff:" + public + "]:80", "[::ffff:7f00:1]:80", "[64:ff9b::7f00:1]:80", "[fe80::1%eth0]:80", "[fdc0:7a31:c59e:1::9999]:80"} {
		r := a.do(order{Do: "tcp", Addr: to, Send: get("good.test"), Wait: 2 * time.Second})
		if r.Err == "" {
			a.t.Errorf("%s: %+v", to, r)
		}
	}
}

func (a *attack) icmp() {
	for _, to := range []string{"8.8.8.8", public, "198.18.0.1"} {
		a.fails(order{Do: "raw", Addr: to}, "no route to host", "timeout")
	}
}

func (a *attack) quic() {
	good := a.works(order{Do: "lookup", Addr: "good.test"}).Names[0]
	for _, to := range []string{"8.8.8.8:443", net.JoinHostPort(good, "443"), "198.18.0.1:443"} {
		a.fails(order{Do: "udp", Addr: to, Send: "quic"}, "no route to host", "refused", "permission denied")
	}
}

// sends has frames leave by a packet socket; the packet filter counts those
// that are not from the sandbox's address as forged.
func (a *attack) sends(frames ...[]byte) {
	a.t.Helper()
	for _, f := range frames {
		a.works(order{Do: "frame", Bytes: f})
	}
}

func (a *attack) rawSockets() {
	before, reached := a.status(), a.count(public+":80")
	a.sends(frames()...)
	testkit.Eventually(a.t, soon, "forged packets are counted", func() bool { return a.status().Forged >= before.Forged+3 })
	if got := a.count(public + ":80"); got != reached {
		a.t.Errorf("%d connections", got-reached)
	}
}

func (a *attack) status() Status {
	a.t.Helper()
	s, err := a.n.Status()
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// spoof claims to be the gateway, and that the sandbox's own address is
// elsewhere: R asks and believes nobody, so what follows works.
func (a *attack) spoof() { a.sends(spoofs()...) }

func (a *attack) fragments() {
	reached := a.count(public + ":80")
	for range 100 { // also never completed ones
		a.sends(frames()[3:5]...)
	}
	if got := a.count(public + ":80"); got != reached {
		a.t.Errorf("%d connections", got-reached)
	}
}

// halfOpen: more SYNs than connections are allowed, never completed.
func (a *attack) halfOpen() {
	good := netip.MustParseAddr(slices.MinFunc(a.works(order{Do: "lookup", Addr: "good.test"}).Names, func(x, y string) int { return len(x) - len(y) }))
	a.works(order{Do: "syns", Addr: netip.AddrPortFrom(good, 22).String(), N: 3000})
}

// slow: connections that never say what they are for end, and give way.
func (a *attack) slow() {
	for _, port := range []string{"443", "80"} {
		r := a.works(order{Do: "slow", Addr: "good.test:" + port, N: 40})
		if r.N != 40 {
			a.t.Errorf("port %s: %d of 40 slow connections were ended", port, r.N)
		}
	}
}

func (a *attack) ownPorts() {
	for _, to := range []string{"198.18.0.1:4096", "198.18.0.1:80", "198.18.0.1:22", "[fdc0:7a31:c59e::1]:4096", "[fdc0:7a31:c59e::1]:80"} {
		a.fails(order{Do: "tcp", Addr: to, Send: "x"}, "refused")
	}
	// The name server's port is open; what is no question ends.
	r := a.do(order{Do: "tcp", Addr: "198.18.0.1:53", Bytes: append([]byte{0xff, 0xff}, make([]byte, 100)...)})
	if r.N != 0 {
		a.t.Errorf("the name server answered: %+v", r)
	}
}

func (a *attack) abstract() {
	l, err := net.Listen("unix", "@cpc-netns-adversarial")
	if err != nil {
		a.t.Fatal(err)
	}
	defer l.Close()
	a.fails(order{Do: "unix", Addr: "@cpc-netns-adversarial"}, "refused")
}

// ownRules comes last: it leaves the sandbox with other addresses, routes and
// packet filter than it was given.
func (a *attack) ownRules() {
	reached := a.count(public + ":80")
	a.works(order{Do: "nft"})
	a.works(order{Do: "arp"})
	a.fails(order{Do: "tcp", Addr: public + ":80", Send: get("good.test"), Wait: time.Second}, "refused", "timeout", "no route to host")
	if got := a.count(public + ":80"); got != reached {
		a.t.Errorf("%d connections reached %s", got-reached, public)
	}
}

// spoofs are an ARP reply and a neighbour advertisement, each of the gateway's
// address at another place and of the sandbox's at another, and a router
// advertisement.
func spoofs() [][]byte {
	gw, own, evil := []byte{2, 'c', 'p', 'c', 0, 1}, []byte{2, 'c', 'p', 'c', 0, 2}, []byte{2, 'e', 'v', 'i', 'l', 9}
	eth := func(kind uint16, body []byte) []byte {
		return append(binary.BigEndian.AppendUint16(append(slices.Clone(gw), own...), kind), body...)
	}
	var out [][]byte
	for _, ip := range []byte{1, 2} {
		arp := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, evil...)
		arp = append(append(append(arp, 198, 18, 0, ip), gw...), 198, 18, 0, 1)
		out = append(out, eth(0x0806, arp))
		target := netip.MustParseAddr(fmt.Sprintf("fdc0:7a31:c59e::%d", ip))
		to := netip.MustParseAddr("fdc0:7a31:c59e::1")
		na := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, target.AsSlice()...)
		out = append(out, eth(0x86dd, icmp6(target, to, append(append(na, 2, 1), evil...))))
	}
	ra := []byte{134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
	return append(out, eth(0x86dd, icmp6(netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1"), ra)))
}

// icmp6 returns an ICMPv6 packet with its checksum.
func icmp6(src, dst netip.Addr, body []byte) []byte {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, 58)
	var sum uint32
	for _, part := range [][]byte{pseudo, body} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 == 1 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(body[2:], ^uint16(sum))
	head := []byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), 58, 255}
	return append(append(append(head, src.AsSlice()...), dst.AsSlice()...), body...)
}

// TestFloodOfQuestions: a flood of names is counted, and does not fill a log.
func TestFloodOfQuestions(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		var j journal
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host(), Events: j.add})
		const questions = 3000
		b.works(order{Do: "ask", Addr: "198.18.0.1:53", N: questions})
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		var told uint64
		for _, e := range j.seen {
			if e.Kind == event.DNS && e.Verdict == event.Denied {
				told += max(e.Count, 1)
			}
		}
		if told < questions*9/10 || len(j.seen) > 1500 {
			t.Errorf("%d of %d questions on record, in %d events", told, questions, len(j.seen))
		}
	})
}
