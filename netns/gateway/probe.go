// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// Verdict is what to do with the first packet of a connection that is held back
// until its host was dialled.
type Verdict int

const (
	// Wait: nothing. If the program sends it again, it is asked about again.
	Wait Verdict = iota
	// Pass: let the connection come to the gateway.
	Pass
	// Refuse: answer as a host does on which nothing listens.
	Refuse
	// Unreach: answer as a router does that knows no way.
	Unreach
)

const (
	// maxEarly bounds connections to hosts that no connection of the sandbox
	// belongs to yet, under way or made.
	maxEarly = 64
	earlyFor = 3 * time.Second
)

// flow is a connection as the sandbox sees it.
type flow struct{ src, dst netip.AddrPort }

// early is a connection to a host that waits for the sandbox's to be accepted.
// It is zero while it is being made.
type early struct {
	up    *net.TCPConn
	t     target
	timer *time.Timer
}

// Probe dials the host of a connection that has not been accepted, so that the
// program sees what happens as it would without a gateway. The connection to the
// host is kept for the sandbox's, which follows. Nothing is sent on it before all
// checks.
func (g *Gateway) Probe(ctx context.Context, src, dst netip.AddrPort) Verdict {
	if g.o.Budget.Wait(ctx) != nil {
		return Wait
	}
	c := &conn{src: src, dst: dst, port: dst.Port(), start: time.Now()}
	if g.identify(c) != nil {
		return Pass // and be refused, for a reason that is recorded
	}
	f := flow{src, dst}
	g.mu.Lock()
	full := len(g.early) >= g.maxEarly || !g.probes.Allow()
	if !full {
		g.early[f] = early{}
		c.decision = g.o.Policy().Decide(c.host, c.port)
	}
	g.mu.Unlock()
	if full {
		return Pass // and be dialled for then
	}
	if !c.decision.Allowed {
		g.keepEarly(ctx, f, early{})
		return Pass
	}
	up, t, err := g.dial(ctx, c)
	if err == nil {
		g.keepEarly(ctx, f, early{up: up, t: t})
		return Pass
	}
	g.keepEarly(ctx, f, early{})
	if ctx.Err() != nil {
		return Wait
	}
	return g.failedEarly(c, err)
}

// failedEarly records why a host could not be reached. What is not the host's
// doing comes to the gateway and is recorded there.
func (g *Gateway) failedEarly(c *conn, err error) Verdict {
	why := failureOf(err)
	v := map[Failure]Verdict{Refused: Refuse, Unreachable: Unreach, NoName: Unreach, Timeout: Wait}
	verdict, ok := v[why]
	if isRefusal(err) || !ok {
		return Pass
	}
	g.record(c, event.Event{Kind: event.Connect, Verdict: event.Failed, Reason: string(why)})
	return verdict
}

// keepEarly ends the making of a connection. If there is one, it is kept until
// the sandbox's is accepted, but not for long.
func (g *Gateway) keepEarly(ctx context.Context, f flow, e early) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.early, f)
	if e.up == nil {
		return
	}
	if ctx.Err() != nil {
		_ = e.up.Close()
		return
	}
	e.timer = time.AfterFunc(earlyFor, func() {
		if e, ok := g.takeEarly(f); ok {
			_ = e.up.Close()
		}
	})
	g.early[f] = e
}

// takeEarly returns the connection to the host of an accepted one, once.
func (g *Gateway) takeEarly(f flow) (early, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.early[f]
	if e.up == nil {
		return e, false
	}
	e.timer.Stop()
	delete(g.early, f)
	return e, true
}

// dropEarly closes those that nobody has come for.
func (g *Gateway) dropEarly() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f, e := range g.early {
		if e.up != nil {
			e.timer.Stop()
			_ = e.up.Close()
			delete(g.early, f)
		}
	}
}

// reuse returns the connection that was made for c before it was accepted, if
// the policy still lets it be made.
func (g *Gateway) reuse(c *conn) (*net.TCPConn, target, bool) {
	up, t := c.early.up, c.early.t
	if up == nil {
		return nil, target{}, false
	}
	c.early.up = nil
	own, err := g.o.Own()
	if err == nil && t.addr.IsValid() {
		t, err = admit(g.o.Policy(), t.addr.Addr(), c.port, own)
	}
	if err != nil {
		_ = up.Close()
		return nil, target{}, false
	}
	return up, t, true
}
