// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/netns/event"
)

// TestProbe: what becomes of a connection that has not been accepted, by what
// becomes of dialling its host.
func TestProbe(t *testing.T) {
	var dialErr atomic.Pointer[error]
	port := server(t, echo)
	f := start(t, Options{Dial: func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		if e := dialErr.Load(); e != nil {
			return nil, *e
		}
		return defaultDial(ctx, to)
	}}, fmt.Sprintf("a.test:%d", port), fmt.Sprintf("gone.test:%d", port), "private.test:80/raw", grant(port))
	src := netip.MustParseAddrPort("198.18.0.2:1000")
	for _, c := range []struct {
		dst    netip.AddrPort
		err    error
		want   Verdict
		failed Failure
	}{
		{name(0, port), unix.ECONNREFUSED, Refuse, Refused},
		{name(0, port), unix.EHOSTUNREACH, Unreach, Unreachable},
		{name(0, port), context.DeadlineExceeded, Wait, Timeout},
		{name(0, port), io.EOF, Pass, ""},
		{name(4, port), nil, Unreach, NoName},
		{name(3, 80), nil, Pass, ""}, // no address may be dialled, which is recorded later
		{name(1, port), nil, Pass, ""},
		{name(99, port), nil, Pass, ""},
	} {
		dialErr.Store(nil)
		if c.err != nil {
			dialErr.Store(&c.err)
		}
		if got := f.Probe(t.Context(), src, c.dst); got != c.want {
			t.Errorf("%s, %v: %d, want %d", c.dst, c.err, got, c.want)
		}
		if c.failed == "" {
			continue
		}
		if e := f.event(event.Connect, event.Failed); e.Reason != string(c.failed) || e.Source != src || e.Rule == "" {
			t.Errorf("%+v", e)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) > 0 || len(f.early) > 0 {
		t.Errorf("%+v, %d connections are kept", f.seen, len(f.early))
	}
}

// TestEarly: the connection to a host that was made before the sandbox's was
// accepted is the one that is used, if the policy still lets it be made, and ends
// if nobody comes for it.
func TestEarly(t *testing.T) {
	var dialled, ended atomic.Int32
	port := server(t, func(c *net.TCPConn) {
		dialled.Add(1)
		echo(c)
		ended.Add(1)
	})
	rule := fmt.Sprintf("a.test:%d", port)
	f := start(t, Options{}, rule, grant(port))
	dst := name(0, port)
	// use connects from a port for which the host was dialled.
	use := func() (net.Conn, error) {
		l, err := net.Listen("tcp4", "127.0.0.1:0") // a free port
		if err != nil {
			t.Fatal(err)
		}
		src := netip.MustParseAddrPort(l.Addr().String())
		_ = l.Close()
		if v := f.Probe(t.Context(), src, dst); v != Pass {
			t.Fatalf("verdict %d", v)
		}
		f.dst.Store(&dst)
		return (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(src)}).Dial("tcp4", f.at)
	}
	c, err := use()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	if e := f.event(event.Close, event.Allowed); e.Sent != 1 || e.Upstream.Port() != port || dialled.Load() != 1 {
		t.Errorf("%+v after %d connections to the host", e, dialled.Load())
	}
	// Nobody comes.
	if v := f.Probe(t.Context(), netip.MustParseAddrPort("198.18.0.2:1"), dst); v != Pass {
		t.Errorf("verdict %d", v)
	}
	if !testkit.Within(testkit.Patience, func() bool { return ended.Load() >= 2 }) || ended.Load() != 2 {
		t.Errorf("%d of 2 connections to the host ended", ended.Load())
	}
	// The policy changes in between: the address is not granted any more.
	for _, granted := range []bool{true, false} {
		f.rules(rule, grant(port))
		if v := f.Probe(t.Context(), dst, dst); v != Pass {
			t.Fatalf("verdict %d", v)
		}
		e, ok := f.takeEarly(flow{dst, dst})
		if !granted {
			f.rules(rule)
		}
		up, _, used := f.reuse(&conn{src: dst, dst: dst, port: port, early: e})
		if !ok || used != granted {
			t.Errorf("granted %v: kept %v, used %v", granted, ok, used)
		}
		if used {
			_ = up.Close()
		}
	}
}
