// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Answer is what the gateway would do with a connection.
type Answer struct {
	policy.Decision
	// Upstream are the addresses that would be dialled, in order; none where a
	// proxy is asked or nothing would be dialled.
	Upstream []netip.AddrPort `json:"upstream,omitempty"`
	// Problem is why an allowed host could not be reached now: its name does
	// not resolve, say.
	Problem string `json:"problem,omitempty"`
}

// Check answers what would become of a connection of the sandbox to a host and
// port, by the same steps as for a connection, but for dialling.
func (g *Gateway) Check(ctx context.Context, h policy.Host, port uint16) Answer {
	if h.IsAddr() {
		h.Addr = address.Canonical(h.Addr)
	}
	a := Answer{Decision: g.o.Policy().Decide(h, port)}
	if why := g.unseen(h); why != "" {
		a.Decision = policy.Decision{Reason: why, Version: a.Version}
		return a
	}
	if !a.Allowed {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, g.o.Limits.Connect)
	defer cancel()
	proxied := false
	if g.o.Proxy != nil {
		p, err := g.o.Proxy(h, port)
		if err != nil {
			a.Problem = err.Error()
			return a
		}
		proxied = p != nil
		if proxied && !h.IsAddr() {
			return a // the proxy resolves it
		}
	}
	targets, err := g.targets(ctx, &conn{host: h, port: port})
	switch {
	case isRefusal(err):
		a.Allowed, a.Reason, a.Proto = false, err.Error(), ""
	case err != nil:
		a.Problem = string(failureOf(err))
	case !proxied:
		for _, t := range targets {
			a.Upstream = append(a.Upstream, t.addr)
		}
	}
	return a
}

// unseen says why connections to a host do not come to the gateway, whatever
// the rules are.
func (g *Gateway) unseen(h policy.Host) string {
	switch {
	case h.Name == "localhost":
		return "localhost is the sandbox itself: its programs reach each other there, and no rule counts"
	case !h.IsAddr():
		return ""
	case h.Addr.IsLoopback(), h.Addr.IsUnspecified():
		return fmt.Sprintf("%s is the sandbox itself: its programs reach each other there, and no rule counts", h.Addr)
	case slices.ContainsFunc(g.o.Synthetic, func(p netip.Prefix) bool { return p.Contains(h.Addr) }):
		if name, ok := g.o.Name(h.Addr); ok {
			return fmt.Sprintf("the address stands for %s in this sandbox: test that name", name)
		}
		return noName
	}
	return ""
}

// noName refuses an address of the sandbox's names that is none's.
const noName = "the address stands for no name (any more)"
