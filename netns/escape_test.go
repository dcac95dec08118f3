// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// headers: TCP behind every kind of IPv6 header, IPv4 options, and tunnels. R
// takes none of it apart, and nothing of it further.
func (a *attack) headers() {
	six := netip.MustParseAddr(pick(a.works(order{Do: "lookup", Addr: "good.test"}).Names, ":"))
	before, v4, v6 := a.status(), a.count(public+":80"), a.count("["+public6+"]:80")
	for _, dst := range []netip.Addr{six, netip.MustParseAddr(public6), netip.MustParseAddr("fdc0:7a31:c59e::1")} {
		a.sends(extended(dst)...)
	}
	a.sends(tunnels()...)
	if four, six := a.count(public+":80"), a.count("["+public6+"]:80"); four != v4 || six != v6 {
		a.t.Errorf("%d connections", four-v4+six-v6)
	}
	if after := a.status(); after.Refused+after.Forged <= before.Refused+before.Forged {
		a.t.Error("nothing of it was counted")
	}
}

func pick(addrs []string, with string) string {
	return addrs[slices.IndexFunc(addrs, func(s string) bool { return strings.Contains(s, with) })]
}

func toGateway(kind uint16, parts ...[]byte) []byte {
	f := append([]byte{2, 'c', 'p', 'c', 0, 1}, 2, 'c', 'p', 'c', 0, 2)
	return append(binary.BigEndian.AppendUint16(f, kind), bytes.Join(parts, nil)...)
}

// extended are packets to dst, each with a SYN for port 80 behind other headers.
func extended(dst netip.Addr) [][]byte {
	const tcp, hop, routing, fragment, esp, auth, none, options = 6, 0, 43, 44, 50, 51, 59, 60
	own, public := netip.MustParseAddr("fdc0:7a31:c59e::2").AsSlice(), netip.MustParseAddr(public6).AsSlice()
	syn := []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	packet := func(first byte, body ...[]byte) []byte {
		all := bytes.Join(body, nil)
		head := []byte{0x60, 0, 0, 0, byte(len(all) >> 8), byte(len(all)), first, 64}
		return toGateway(0x86dd, head, own, dst.AsSlice(), all)
	}
	pad := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	route := func(kind byte) []byte { // one place is left to go to
		return append([]byte{tcp, 2, kind, 1, 0, 0, 0, 0}, public...)
	}
	out := [][]byte{
		packet(hop, pad(tcp), syn), packet(options, pad(tcp), syn), packet(options, pad(hop), pad(tcp), syn),
		packet(routing, route(0), syn), packet(routing, route(2), syn), packet(routing, route(4), syn), packet(routing, route(3), syn),
		packet(fragment, []byte{tcp, 0, 0, 1, 0, 0, 0, 7}, syn[:8]), packet(fragment, []byte{tcp, 0, 0, 8, 0, 0, 0, 7}, syn[8:]),
		packet(fragment, []byte{tcp, 0, 0, 0, 0, 0, 0, 8}, syn), // an atomic one
		packet(auth, []byte{tcp, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, make([]byte, 12), syn),
		packet(esp, make([]byte, 16), syn), packet(none, syn), packet(41, []byte{0x60, 0, 0, 0, 0, 20, tcp, 64}, own, public, syn),
		packet(47, []byte{0, 0, 0x86, 0xdd}, syn), packet(132, syn), packet(136, syn), packet(255, syn),
	}
	var long [][]byte
	for range 100 {
		long = append(long, pad(options))
	}
	return append(out, packet(options, append(long, pad(tcp), syn)...))
}

// tunnels are packets with IPv4 options and of protocols that carry others, and
// frames with tags.
func tunnels() [][]byte {
	own, r, public := []byte{198, 18, 0, 2}, []byte{198, 18, 0, 1}, []byte{93, 184, 216, 34}
	syn := []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	ip := func(proto byte, dst, options []byte, body ...[]byte) []byte {
		all := bytes.Join(body, nil)
		h := []byte{byte(0x45 + len(options)/4), 0, 0, byte(20 + len(options) + len(all)), 0, 1, 0, 0, 64, proto, 0, 0}
		h = append(append(append(h, own...), dst...), options...)
		var sum uint32
		for i := 0; i < len(h); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
		return append(h, all...)
	}
	inner := ip(6, public, nil, syn)
	var out [][]byte
	for _, p := range [][]byte{
		ip(6, r, append([]byte{131, 7, 4}, append(slices.Clone(public), 0)...), syn), // loose source route
		ip(6, r, append([]byte{137, 7, 4}, append(slices.Clone(public), 0)...), syn), // strict source route
		ip(4, r, nil, inner), ip(47, r, nil, []byte{0, 0, 8, 0}, inner), ip(41, r, nil, inner), ip(50, r, nil, inner), ip(94, r, nil, inner),
		ip(17, r, nil, []byte{0, 53, 0x12, 0xb5, 0, byte(16 + len(inner)), 0, 0, 8, 0, 0, 0, 0, 0, 1, 0}, inner), // VXLAN
		ip(17, r, nil, []byte{0, 53, 0x17, 0xc1, 0, byte(16 + len(inner)), 0, 0, 0, 0, 8, 0, 0, 0, 1, 0}, inner), // Geneve
		ip(132, r, nil, syn), ip(33, r, nil, syn), ip(136, r, nil, syn), ip(2, r, nil, []byte{0x16, 0, 0, 0, 224, 0, 0, 1}), ip(255, r, nil, syn),
		// An error about a packet that R never sent, and a redirect.
		ip(1, r, nil, []byte{3, 1, 0, 0, 0, 0, 0, 0}, inner), ip(1, r, nil, []byte{5, 1, 0, 0, 198, 18, 0, 2}, inner),
	} {
		out = append(out, toGateway(0x0800, p))
	}
	return append(out, toGateway(0x88a8, []byte{0, 1, 0x81, 0, 0, 2, 8, 0}, inner), toGateway(0x8847, []byte{0, 1, 1, 64}, inner),
		toGateway(0x8864, []byte{0x11, 0, 0, 1, 0, 60, 0, 0x21}, inner), toGateway(0x6558, inner))
}

// oddTCP: segments that begin no connection do not reach the gateway's socket by
// the back door, whatever connection tracking makes of them.
func (a *attack) oddTCP() {
	good := netip.MustParseAddr(pick(a.works(order{Do: "lookup", Addr: "good.test"}).Names, "."))
	before := a.count(public + ":22")
	for flags := range 64 {
		for _, dst := range []netip.AddrPort{
			netip.AddrPortFrom(good, 22), netip.AddrPortFrom(good, 23), netip.MustParseAddrPort("198.18.0.1:4096"), netip.MustParseAddrPort(public + ":22"),
		} {
			a.works(order{Do: "segment", Addr: dst.String(), N: flags})
		}
	}
	if got := a.count(public + ":22"); got != before {
		a.t.Errorf("%d connections", got-before)
	}
}

// moved: the interface in a namespace that the sandbox makes itself, where it
// sets it up anew, is the same way out.
func (a *attack) moved() {
	good := pick(a.works(order{Do: "lookup", Addr: "good.test"}).Names, ".")
	reached := a.count(public + ":80")
	r := a.works(order{Do: "move", Addrs: []string{good + ":80", public + ":80"}})
	if len(r.Names) != 2 || !strings.Contains(r.Names[0], "hello from good.test") || !strings.Contains(r.Names[1], "refused") {
		a.t.Errorf("%+v", r)
	}
	if got := a.count(public + ":80"); got > reached+1 {
		a.t.Errorf("%d connections", got-reached)
	}
}

// segment sends one TCP segment of its own making.
func segment(o order) error {
	to, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return err
	}
	raw, err := newRawTCP()
	if err != nil {
		return err
	}
	defer raw.close()
	return raw.send(to, uint16(10000+o.N), byte(o.N))
}

// move takes eth0 to a new namespace and back, and says what connecting to each
// address from there comes to.
func move(o order) (r result, err error) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return r, err
	}
	defer here.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return r, err
	}
	there, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return r, err
	}
	defer there.Close()
	carry := func(from, to *os.File) error {
		if err := unix.Setns(int(from.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		err := withHandle(func(h *netlink.Handle) error {
			link, err := h.LinkByName("eth0")
			if err != nil {
				return err
			}
			return h.LinkSetNsFd(link, int(to.Fd()))
		})
		if err != nil {
			return err
		}
		if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return withHandle(setUp)
	}
	if err := carry(here, there); err != nil {
		return r, fmt.Errorf("to the new namespace: %w", err)
	}
	for _, addr := range o.Addrs {
		to := netip.MustParseAddrPort(addr)
		r.Names = append(r.Names, fetch(to))
	}
	return r, carry(there, here)
}

// setUp gives eth0 the addresses that a sandbox's has.
func setUp(h *netlink.Handle) error {
	link, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	p := newPlan(true, false)
	for _, f := range p.families() {
		if err := (endpoint{h, link, f[1], f[0].Addr(), p.Gateway.MAC}).add(true); err != nil {
			return err
		}
	}
	return nil
}

// fetch asks for good.test in the namespace of this thread.
func fetch(to netip.AddrPort) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return err.Error()
	}
	c, err := net.FileConn(f)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r, err := exchange(c, get("good.test"))
	if err != nil {
		return err.Error()
	}
	return r.Text
}

// TestHalfOpen: what connection tracking keeps of a flood is bounded, as its
// memory is the host's.
func TestHalfOpen(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host()})
		good := netip.MustParseAddr(pick(b.works(order{Do: "lookup", Addr: "good.test"}).Names, "."))
		most := 0
		for _, port := range []uint16{22, 443} {
			b.works(order{Do: "syns", Addr: netip.AddrPortFrom(good, port).String(), N: 45000})
			most = max(most, tracked(t.T, n))
		}
		// Without a bound all of them; a busy kernel forgets what has expired a little later.
		if most > 60_000 {
			t.Errorf("%d connections are tracked after 90,000 half-open ones", most)
		}
		t.Logf("%d connections were tracked", most)
		if !testkit.Within(30*time.Second, func() bool { return tracked(t.T, n) <= 30_000 }) {
			t.Errorf("%d connections are still tracked", tracked(t.T, n))
		}
		if r := b.works(order{Do: "tcp", Addr: "good.test:80", Send: get("good.test")}); !strings.Contains(r.Text, "hello from good.test") {
			t.Errorf("what is allowed does not work any more: %+v", r)
		}
	})
}

// tracked returns how many connections R keeps track of.
func tracked(t *testing.T, n *Net) (count int) {
	t.Helper()
	err := n.t.inside(n.r, func() error {
		raw, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil {
			count, err = strconv.Atoi(strings.TrimSpace(string(raw)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// TestLinkGone: a sandbox can cut itself off, which harms nobody else.
func TestLinkGone(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		w := newWorld(t.T)
		n, b := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host()})
		_, other := open(t, Options{Policy: allow(t.T, rules()...), Host: w.host()})
		b.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
		b.works(order{Do: "unlink"})
		b.fails(order{Do: "tcp", Addr: public + ":22", Send: "x"}, "unreachable")
		next, err := n.Policy().With([]string{"other.test:22"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.SetPolicy(next); err != nil {
			t.Error(err)
		}
		other.works(order{Do: "tcp", Addr: "good.test:22", Send: "x"})
	})
}
