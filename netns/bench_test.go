// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// The benchmarks compare the gateway with a plain veth, without NAT, between
// the same client and the same server. They run as root.

// bench is a client's namespace and how it reaches the server.
type bench struct {
	t      *thread
	client *os.File
	addr   string
}

// viaGateway connects a namespace the way a sandbox is.
func viaGateway(b *testing.B) bench {
	b.Helper()
	w := newWorld(b)
	n, err := Open(Options{Policy: allow(b, "good.test:22", "10.1.0.0/16:22"), Host: w.host()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
	})
	s := namespace(b, w.t)
	if err := n.Connect(s); err != nil {
		b.Fatal(err)
	}
	// Not the server's thread: connecting waits for the gateway, which needs it.
	t := startThread()
	b.Cleanup(t.stop)
	return bench{t, s, net.JoinHostPort(private, "22")}
}

// viaVeth connects a namespace with the server's by a veth.
func viaVeth(b *testing.B) bench {
	b.Helper()
	w := newWorld(b)
	s := namespace(b, w.t)
	p := newPlan(false, false)
	p.Gateway.V4, p.Sandbox.V4 = netip.MustParsePrefix("10.7.0.1/24"), netip.MustParsePrefix("10.7.0.2/24")
	if err := connectLinks(w.t, w.ns, s, p); err != nil {
		b.Fatal(err)
	}
	return bench{w.t, s, net.JoinHostPort(private, "22")}
}

func namespace(b *testing.B, t *thread) *os.File {
	b.Helper()
	ns, err := t.newNamespace()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ns.Close() })
	if err := t.inside(ns, func() error { return withHandle(func(h *netlink.Handle) error { return loopbackUp(h) }) }); err != nil {
		b.Fatal(err)
	}
	return ns
}

// dial connects from the client's namespace.
func (x bench) dial() (c net.Conn, err error) {
	err = x.t.inside(x.client, func() error {
		c, err = net.DialTimeout("tcp", x.addr, 10*time.Second)
		return err
	})
	return c, err
}

func both(b *testing.B, f func(b *testing.B, x bench)) {
	b.Helper()
	if os.Geteuid() != 0 || modetest.Inside() {
		b.Skip("needs root")
	}
	for _, c := range []struct {
		name string
		open func(*testing.B) bench
	}{{"gateway", viaGateway}, {"veth", viaVeth}} {
		b.Run(c.name, func(b *testing.B) { f(b, c.open(b)) })
	}
}

// BenchmarkThroughput sends to a server that sends back.
func BenchmarkThroughput(b *testing.B) {
	both(b, func(b *testing.B, x bench) {
		b.Helper()
		c, err := x.dial()
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		chunk := []byte(strings.Repeat("x", 1<<20))
		b.SetBytes(int64(len(chunk)))
		b.ResetTimer()
		go func() {
			for range b.N {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
		if n, err := io.CopyN(io.Discard, c, int64(b.N)*int64(len(chunk))); err != nil {
			b.Fatal(n, err)
		}
	})
}

// BenchmarkConnect connects and has one byte answered.
func BenchmarkConnect(b *testing.B) {
	both(b, func(b *testing.B, x bench) {
		b.Helper()
		one := []byte("x")
		for range b.N {
			c, err := x.dial()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Write(one); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, one); err != nil {
				b.Fatal(err)
			}
			_ = c.Close()
			b.StopTimer()
			time.Sleep(6 * time.Millisecond)
			b.StartTimer()
		}
	})
}
