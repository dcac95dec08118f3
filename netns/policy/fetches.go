// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// Fetches are the rules for what a build itself fetches (ADD, contexts), outside of any
// sandbox: what they deny, and which addresses they grant that are not public. What is
// public needs no rule. They are outbound.Rules.
type Fetches struct{ p *Policy }

// Fetches returns what s means there.
func (s Spec) Fetches() (Fetches, error) {
	p, err := s.Policy()
	return Fetches{p}, err
}

// Refuses says why a host that is asked for is not to be reached; "" if nothing speaks against it.
func (r Fetches) Refuses(host string, port uint16) string {
	h, err := ParseHost(host)
	if err != nil {
		return "it is no name of a host"
	}
	if r.p.Decide(h, port).Reason == ReasonDeny {
		return ReasonDeny
	}
	for _, l := range r.p.Limits() {
		if !l.Decide(h, port).Allowed {
			return ReasonLimit
		}
	}
	return ""
}

// Denies is Refuses for an address that a name has.
func (r Fetches) Denies(to netip.AddrPort) string {
	if r.p.Denies(to.Addr(), to.Port()) {
		return ReasonDeny
	}
	return ""
}

// Grants reports whether a rule lets one reach an address of a block that is not public.
func (r Fetches) Grants(_ string, to netip.AddrPort, block address.Block) bool {
	return r.p.Grants(to.Addr(), to.Port(), block.Prefix)
}
