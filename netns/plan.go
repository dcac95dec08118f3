// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

var errOwn = errors.New("it is the caller's own, not a sandbox's")

// End is one end of the veth.
type End struct {
	Name string
	MAC  net.HardwareAddr
	V4   netip.Prefix
	V6   netip.Prefix // zero without IPv6
}

// Plan is what the kernel is to be told for one sandbox. It is pure: the same
// options give the same plan, which String prints.
type Plan struct {
	Gateway End // in R
	Sandbox End // in S
	MTU     int
	// Port is the gateway's, for both families; the name server's is 53.
	Port uint16
	// Pool4 and Pool6 are where addresses of names are taken from, without
	// the first Skip ones.
	Pool4, Pool6 netip.Prefix
	Skip         uint32
	// Group is the nflog group of refused packets.
	Group uint16
	// Learn redirects every connection, so that the gateway can record it.
	Learn bool
}

// Every sandbox has the same addresses, as nothing but its own gateway sees
// them. 198.18.0.0/15 is for tests of network devices (RFC 2544), which no
// program expects to reach; the IPv6 prefix is a unique local one (RFC 4193)
// whose 40 bits were drawn at random.
const (
	range4  = "198.18.0.0/15"
	link4   = "198.18.0.0/30"
	range6  = "fdc0:7a31:c59e::/48"
	link6   = "fdc0:7a31:c59e::/64"
	pool6   = "fdc0:7a31:c59e:1::/64"
	skip    = 256
	port    = 4096
	dnsPort = 53
	group   = 1
	mtu     = 1500
)

// newPlan returns the plan of a sandbox.
func newPlan(ipv6, learn bool) Plan {
	p := Plan{
		Gateway: End{Name: "cpc0", MAC: net.HardwareAddr{0x02, 'c', 'p', 'c', 0, 1}, V4: nth(link4, 1)},
		Sandbox: End{Name: "eth0", MAC: net.HardwareAddr{0x02, 'c', 'p', 'c', 0, 2}, V4: nth(link4, 2)},
		MTU:     mtu, Port: port, Pool4: netip.MustParsePrefix(range4), Skip: skip, Group: group, Learn: learn,
	}
	if ipv6 {
		p.Gateway.V6, p.Sandbox.V6 = nth(link6, 1), nth(link6, 2)
		p.Pool6 = netip.MustParsePrefix(pool6)
	}
	return p
}

// nth returns the n-th address of a range, with the range's length.
func nth(prefix string, n byte) netip.Prefix {
	p := netip.MustParsePrefix(prefix)
	raw := p.Addr().AsSlice()
	raw[len(raw)-1] |= n
	a, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(a, p.Bits())
}

// families returns the gateway's and the sandbox's address of each family.
func (p Plan) families() [][2]netip.Prefix {
	f := [][2]netip.Prefix{{p.Gateway.V4, p.Sandbox.V4}}
	if p.Gateway.V6.IsValid() {
		f = append(f, [2]netip.Prefix{p.Gateway.V6, p.Sandbox.V6})
	}
	return f
}

// synthetic returns the ranges that addresses of names are from.
func (p Plan) synthetic() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(range4), netip.MustParsePrefix(range6)}
}

// String prints the plan: links and addresses as ip(8) has them, then the
// packet filter as nft(8) has it.
func (p Plan) String() string {
	var b strings.Builder
	for _, end := range []struct {
		where string
		own   End
		other End
	}{{"R", p.Gateway, p.Sandbox}, {"S", p.Sandbox, p.Gateway}} {
		fmt.Fprintf(&b, "%s: link %s type veth address %s mtu %d up\n", end.where, end.own.Name, end.own.MAC, p.MTU)
		if end.where == "R" {
			fmt.Fprintf(&b, "%s: link %s arp off\n", end.where, end.own.Name)
		} else {
			fmt.Fprintf(&b, "%s: link lo up\n", end.where)
		}
		for _, a := range [][2]netip.Prefix{{end.own.V4, end.other.V4}, {end.own.V6, end.other.V6}} {
			if !a[0].IsValid() {
				continue
			}
			fmt.Fprintf(&b, "%s: address %s dev %s\n", end.where, a[0], end.own.Name)
			fmt.Fprintf(&b, "%s: neighbour %s lladdr %s dev %s permanent\n", end.where, a[1].Addr(), end.other.MAC, end.own.Name)
			if end.where == "S" {
				fmt.Fprintf(&b, "%s: route default via %s dev %s\n", end.where, a[1].Addr(), end.own.Name)
			}
		}
	}
	b.WriteString(p.ruleset().String())
	return b.String()
}

// pair is an element of a set of the packet filter.
type pair struct {
	addr netip.Addr
	port uint16
}

// portRange is an address range and a port.
type portRange struct {
	prefix netip.Prefix
	port   uint16
}

// ranges returns the pairs that the policy allows without a name, of the families
// that there are.
func (p Plan) ranges(pol *policy.Policy) []portRange {
	var out []portRange
	for _, r := range pol.Ranges() {
		if r.Prefix.Addr().Is6() && !p.Gateway.V6.IsValid() {
			continue
		}
		for _, port := range r.Ports {
			if one := (portRange{r.Prefix, port}); !slices.Contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out
}

// rangeRules returns the rules that redirect them.
func (p Plan) rangeRules(pol *policy.Policy) []rule {
	var out []rule
	for _, r := range p.ranges(pol) {
		out = append(out, p.redirectRange(r.prefix, r.port))
	}
	return out
}
