// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// listeners are the sockets in R.
type listeners struct {
	gateway []net.Listener
	tcp     []net.Listener
	udp     []net.PacketConn
}

// listen opens the sockets of both families in R.
func (n *Net) listen() (l listeners, err error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false) // it has no SO_ORIGINAL_DST
	ctx := context.Background()
	err = n.t.inside(n.r, func() error {
		for _, f := range n.plan.families() {
			own := f[0].Addr()
			g, err := c.Listen(ctx, "tcp", netip.AddrPortFrom(own, n.plan.Port).String())
			if err != nil {
				return err
			}
			l.gateway = append(l.gateway, g)
			at := netip.AddrPortFrom(own, dnsPort).String()
			t, err := c.Listen(ctx, "tcp", at)
			if err != nil {
				return err
			}
			l.tcp = append(l.tcp, t)
			u, err := c.ListenPacket(ctx, "udp", at)
			if err != nil {
				return err
			}
			l.udp = append(l.udp, u)
		}
		return nil
	})
	if err != nil {
		l.close()
	}
	return l, err
}

func (l listeners) close() {
	for _, c := range l.gateway {
		_ = c.Close()
	}
	for _, c := range l.tcp {
		_ = c.Close()
	}
	for _, c := range l.udp {
		_ = c.Close()
	}
}

// serve starts the goroutines, which end when Close cancels their context.
func (n *Net) serve() error {
	l, err := n.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	for _, c := range l.gateway {
		n.run("gateway", func() error { return n.gw.Serve(ctx, c) })
	}
	for _, c := range l.tcp {
		n.run("name server", func() error { return n.dns.ServeTCP(ctx, c) })
	}
	for _, c := range l.udp {
		n.run("name server", func() error { return n.dns.ServeUDP(ctx, c) })
	}
	held := func(p packet) { n.held(ctx, p) }
	for _, l := range []struct {
		from *netlink.Conn
		to   func(packet)
	}{{n.log, n.refused}, {n.holder.log, held}} {
		n.run("log", func() error {
			if err := readRefused(l.from, l.to, func() error { return n.o.Budget.Wait(ctx) }); ctx.Err() == nil {
				return err
			}
			return nil // Close has closed it
		})
	}
	n.run("counter", func() error { n.count(ctx); return nil })
	if n.o.Sums != nil {
		n.run("sums", func() error { n.sum(ctx); return nil })
	}
	return nil
}

// run records it if a part ends before it should. The sandbox has less network
// then, never more.
func (n *Net) run(what string, f func() error) {
	n.wg.Go(func() {
		if err := f(); err != nil {
			n.rec.Record(event.Event{Kind: event.Connect, Verdict: event.Failed, Reason: fmt.Sprintf("%s: %v", what, err)})
		}
	})
}

// refused records a packet that the packet filter told of.
func (n *Net) refused(p packet) {
	n.told.Add(1)
	pol := n.pol.Load()
	p.dst = netip.AddrPortFrom(address.Canonical(p.dst.Addr()), p.dst.Port())
	e := event.Event{
		Kind: event.Packet, Verdict: event.Denied, Version: pol.Version(), Proto: p.proto,
		Addr: p.dst.Addr(), Port: p.dst.Port(), Source: p.src, Reason: "not an address of an allowed name",
	}
	h := policy.Host{Addr: p.dst.Addr()}
	if name, ok := n.pool.Lookup(p.dst.Addr()); ok {
		e.Name, h = name, policy.Host{Name: name}
	}
	switch d := pol.Decide(h, e.Port); {
	case p.proto != "tcp":
		e.Reason = "only TCP leaves a sandbox"
	case d.Allowed: // not any more, or not yet
	case e.Name != "" || d.Reason != policy.ReasonNoRule:
		e.Rule, e.Preset, e.Reason = d.Rule, d.Preset, d.Reason
	}
	n.rec.Record(e)
}

// counting is how often refused packets that were too many to be logged are
// recorded as a number.
const counting = 10 * time.Second

func (n *Net) count(ctx context.Context) {
	every := time.NewTicker(counting)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			n.countRefused()
		}
	}
}

func (n *Net) countRefused() {
	all, err := n.fw.denied()
	if err != nil {
		return // the next time
	}
	if told := n.told.Load(); all > told {
		n.told.Add(all - told)
		n.rec.Record(event.Event{
			Kind: event.Packet, Verdict: event.Denied, Version: n.pol.Load().Version(),
			Reason: "too many refused packets to tell apart", Count: all - told,
		})
	}
}

// summing is how often Sums is called, and a little more for each destination. A
// process that is killed loses what came later.
const summing, summingEach = 2 * time.Second, 2 * time.Millisecond

func (n *Net) sum(ctx context.Context) {
	timer := time.NewTimer(summing)
	defer timer.Stop()
	var last, many uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if n.o.Budget.Wait(ctx) != nil {
			return
		}
		open := n.gw.Open()
		now := n.rec.Ended()
		for _, e := range open {
			now += 1 + e.Sent + e.Received
		}
		if now != last {
			all := n.rec.Sums(open)
			last, many = now, uint64(len(all))
			n.o.Sums(all)
		}
		timer.Reset(summing + time.Duration(many)*summingEach) //nolint:gosec // bounded
	}
}
