// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// The program of the sandbox is this test's binary, in a user and a network
// namespace of its own, with every capability there. It does what it is told,
// a line of JSON at a time.
const envInside = "CPC_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(envInside) != "" {
		program()
		return
	}
	modetest.Main(m)
}

type order struct {
	Do   string
	Addr string // host:port
	Send string
	// Bytes are what to send that is no text.
	Bytes        []byte
	SNI          string
	N            int
	Wait         time.Duration // for a connection; 0 is patience
	Names, Addrs []string      // of "oneport"; arguments and environment of "command"
	Dir          string        // of "command" and "client"
}

type result struct {
	Err   string
	Text  string
	N     int
	Took  time.Duration
	Names []string
}

// patience is how long a program waits for what must come, on a busy machine.
const patience = 30 * time.Second

func program() {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return
		}
		start := time.Now()
		r, err := obey(o)
		if err != nil {
			r.Err = err.Error()
		}
		r.Took = time.Since(start)
		if err := out.Encode(r); err != nil {
			return
		}
	}
}

func resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, "198.18.0.1:53")
	}}
}

func dial(o order) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, Resolver: resolver()}
	if o.Wait != 0 {
		d.Timeout = o.Wait
	}
	c, err := d.Dial("tcp", o.Addr)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func obey(o order) (r result, err error) {
	switch o.Do {
	case "lookup":
		r.Names, err = resolver().LookupHost(context.Background(), o.Addr)
	case "ptr":
		r.Names, err = resolver().LookupAddr(context.Background(), o.Addr)
	case "dns":
		return r, ask(o.Addr, o.Send)
	case "tcp":
		var c net.Conn
		if c, err = dial(o); err != nil {
			return r, err
		}
		defer c.Close()
		return exchange(c, o.Send+string(o.Bytes))
	case "two":
		return two(o)
	case "tls":
		var c net.Conn
		if c, err = dial(o); err != nil {
			return r, err
		}
		defer c.Close()
		s := tls.Client(c, &tls.Config{ServerName: o.SNI, InsecureSkipVerify: true}) //nolint:gosec // the name is what is tried
		return exchange(s, o.Send)
	case "udp":
		return datagram(o.Addr, o.Send)
	case "oneport":
		return onePort(o)
	case "many":
		return many(o)
	case "hold":
		return hold(o)
	case "noise":
		noise(o)
	case "command":
		return command(o)
	case "client":
		return goClient(o)
	case "flood":
		for range o.N {
			_, _ = (&net.Dialer{Timeout: patience}).Dial("tcp", o.Addr)
		}
	case "unix":
		_, err = net.Dial("unix", o.Addr)
	case "raw":
		return r, raw(o.Addr)
	case "frame":
		return r, frame(o.Bytes)
	case "nft":
		return r, ownFilter()
	case "syns":
		return r, syns(o)
	case "segment":
		return r, segment(o)
	case "move":
		return move(o)
	case "unlink":
		return r, withHandle(func(h *netlink.Handle) error {
			link, err := h.LinkByName("eth0")
			if err != nil {
				return err
			}
			return h.LinkDel(link)
		})
	case "slow":
		return slow(o)
	case "ask":
		return r, askMany(o)
	case "arp":
		return r, netAdmin()
	default:
		err = errors.New("unknown order")
	}
	return r, err
}

// exchange sends, ends its side and reads until the other ends.
func exchange(c net.Conn, send string) (r result, err error) {
	if send != "" {
		if _, err := io.WriteString(c, send); err != nil {
			return r, err
		}
	}
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		if err := h.CloseWrite(); errors.Is(err, unix.ENOTCONN) {
			return r, unix.ECONNRESET
		} else if err != nil {
			return r, err
		}
	}
	b, err := io.ReadAll(c)
	r.Text, r.N = string(b), len(b)
	if r.N > 4096 {
		r.Text = r.Text[:4096]
	}
	return r, err
}

func datagram(addr, send string) (r result, err error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return r, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return r, err
	}
	if _, err := io.WriteString(c, send); err != nil {
		return r, err
	}
	b := make([]byte, 1500)
	r.N, err = c.Read(b)
	return r, err
}

func ask(server, name string) error {
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network, Timeout: 2 * time.Second}
		if network == "tcp" { // the last
			c.Timeout = patience
		}
		if _, _, err := c.Exchange(q, server); err == nil {
			return nil
		} else if network == "tcp" {
			return err
		}
	}
	return nil
}

// many opens N connections at once and counts those that are answered.
func many(o order) (r result, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 500)
	for range o.N {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := (&net.Dialer{Timeout: patience}).Dial("tcp", o.Addr)
			if err != nil {
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(cmp.Or(o.Wait, time.Second)))
			_, _ = io.WriteString(c, "x")
			if n, _ := c.Read(make([]byte, 1)); n == 1 {
				mu.Lock()
				r.N++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return r, nil
}

// hold opens N connections, one of which counts when it is answered, and keeps
// them for a while.
func hold(o order) (r result, err error) {
	var answered atomic.Int64
	for range o.N {
		c, err := net.DialTimeout("tcp", o.Addr, patience)
		if err != nil {
			return r, err
		}
		defer c.Close()
		go func() {
			_, _ = io.WriteString(c, "x")
			if n, _ := c.Read(make([]byte, 1)); n == 1 {
				answered.Add(1)
			}
		}()
	}
	time.Sleep(o.Wait)
	r.N = int(answered.Load())
	return r, nil
}

// onePort connects to all addresses from one port, and asks each for the name
// of the same place.
func onePort(o order) (r result, err error) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}, LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 18, 0, 2), Port: 33333}}
	for _, addr := range o.Addrs {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			return r, err
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		if _, err := io.WriteString(c, get(o.Names[i])); err != nil {
			return r, err
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return r, err
		}
		b, err := io.ReadAll(c)
		if err != nil {
			return r, err
		}
		r.Names = append(r.Names, string(b))
	}
	return r, nil
}

// raw sends an echo request by a raw socket and waits for an answer.
func raw(addr string) error {
	c, err := net.Dial("ip4:icmp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 100))
	return err
}

// frame sends an Ethernet frame by a packet socket.
func frame(b []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	i, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	return unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: i.Index, Halen: 6})
}

// netAdmin changes what root of a sandbox can: another address and route.
func netAdmin() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("10.9.9.9/8")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	_, all, err := net.ParseCIDR("93.184.216.0/24")
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Src: net.IPv4(10, 9, 9, 9), Gw: net.IPv4(198, 18, 0, 1)}
	return netlink.RouteAdd(route)
}

// ownFilter has the sandbox's packet filter let everything through, rewritten
// as if it came from elsewhere.
func ownFilter() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "mine"})
	chain := c.AddChain(&nftables.Chain{
		Name: "out", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, DestRegister: 1, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.IPv4(93, 184, 216, 34).To4()},
		&expr.Immediate{Register: 1, Data: []byte{10, 9, 9, 9}},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	return c.Flush()
}

// syns begins N connections, each from another port, and completes none.
func syns(o order) error {
	to, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return err
	}
	const syn = 2
	raw, err := newRawTCP()
	if err != nil {
		return err
	}
	defer raw.close()
	for n := range o.N {
		if err := raw.send(to, uint16(20000+n), syn); err != nil {
			return err
		}
	}
	return nil
}

// rawTCP sends segments without a connection.
type rawTCP int

func newRawTCP() (rawTCP, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return rawTCP(fd), err
}

func (r rawTCP) close() { _ = unix.Close(int(r)) }

func (r rawTCP) send(to netip.AddrPort, from uint16, flags byte) error {
	dst := to.Addr().As4()
	h := binary.BigEndian.AppendUint16(nil, from)
	h = binary.BigEndian.AppendUint16(h, to.Port())
	h = append(h, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	pseudo := append([]byte{198, 18, 0, 2}, dst[:]...)
	pseudo = append(append(pseudo, 0, 6, 0, byte(len(h))), h...)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum+sum>>16))
	return unix.Sendto(int(r), h, 0, &unix.SockaddrInet4{Addr: dst})
}

// two sends a request, reads its answer, and then sends Bytes.
func two(o order) (r result, err error) {
	c, err := dial(o)
	if err != nil {
		return r, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, o.Send); err != nil {
		return r, err
	}
	var got []byte
	for b := make([]byte, 4096); !strings.Contains(string(got), "hello from"); {
		n, err := c.Read(b)
		if err != nil {
			return r, fmt.Errorf("first answer: %w: %q", err, got)
		}
		got = append(got, b[:n]...)
	}
	return exchange(c, string(o.Bytes))
}

// slow opens N connections, sends each a byte now and then, and counts those
// that the other side ends.
func slow(o order) (r result, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range o.N {
		wg.Go(func() {
			c, err := dial(o)
			if err != nil {
				return
			}
			defer c.Close()
			go func() {
				for range 20 {
					if _, err := c.Write([]byte{0x16}); err != nil {
						return
					}
					time.Sleep(300 * time.Millisecond)
				}
			}()
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
				mu.Lock()
				r.N++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return r, nil
}

// askMany asks for N names, and does not wait for answers.
func askMany(o order) error {
	c, err := net.Dial("udp", o.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := range o.N {
		q := new(dns.Msg)
		q.SetQuestion(fmt.Sprintf("n%d.evil.test.", n), dns.TypeA)
		raw, err := q.Pack()
		if err != nil {
			return err
		}
		if _, err := c.Write(raw); err != nil {
			return err
		}
		if n%20 == 19 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	time.Sleep(time.Second)
	return nil
}

// box is a sandbox: a program in namespaces of its own.
type box struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	ns  *os.File
}

// newBox starts a program. It has no parent-death signal, which it would get
// when a Net that is opened later ends its thread; it ends with its input.
func newBox(t modetest.T) *box {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envInside+"=1")
	cmd.Stderr = os.Stderr
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(t.Mapping.Base), Size: int(t.Mapping.Size)}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("program of the sandbox: %v", err)
		}
	})
	ns, err := OfProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return &box{t: t.T, cmd: cmd, in: json.NewEncoder(stdin), out: json.NewDecoder(bufio.NewReader(stdout)), ns: ns}
}

// do has the program do something.
func (b *box) do(o order) result {
	b.t.Helper()
	var r result
	if err := b.in.Encode(o); err != nil {
		b.t.Fatal(err)
	}
	if err := b.out.Decode(&r); err != nil {
		b.t.Fatalf("%+v: %v", o, err)
	}
	return r
}

// fails has the program try something that must fail with one of the errors. What hangs
// fails with "timeout".
func (b *box) fails(o order, want ...string) {
	b.t.Helper()
	r := b.do(o)
	if r.Err == "" {
		b.t.Errorf("%+v worked: %+v", o, r)
		return
	}
	for _, w := range want {
		if strings.Contains(r.Err, w) {
			return
		}
	}
	b.t.Errorf("%+v: %s, want %s", o, r.Err, strings.Join(want, " or "))
}

// works has the program try something that must work.
func (b *box) works(o order) result {
	b.t.Helper()
	r := b.do(o)
	if r.Err != "" {
		b.t.Errorf("%+v: %s", o, r.Err)
	}
	return r
}

func get(host string) string {
	return fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
}
