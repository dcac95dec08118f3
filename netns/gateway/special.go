// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// block is a range of addresses that are not the public internet's.
type block struct {
	prefix netip.Prefix
	what   string
	// single: only a rule for the one address lets through, not for a range.
	single bool
}

// blocks lists what IANA's special-purpose address registries (RFC 6890 and
// its updates) do not call globally reachable, and where clouds serve
// credentials to whoever asks. The first that matches counts. The blocks for
// documentation are not here: by definition nobody is there to be protected.
func blocks() []block {
	b := func(s, what string) block { return block{prefix: netip.MustParsePrefix(s), what: what} }
	one := func(s, what string) block { return block{netip.MustParsePrefix(s), what, true} }
	return []block{
		one("169.254.169.254/32", "cloud metadata"),
		one("169.254.170.0/24", "cloud metadata"),
		one("168.63.129.16/32", "cloud metadata"),
		one("100.100.100.200/32", "cloud metadata"),
		one("192.0.0.192/32", "cloud metadata"),
		one("fd00:ec2::/32", "cloud metadata"),
		one("fd20:ce::254/128", "cloud metadata"),
		one("127.0.0.0/8", "loopback"),
		one("::1/128", "loopback"),
		one("0.0.0.0/8", "this host"),
		one("::/128", "this host"),
		b("10.0.0.0/8", "private"),
		b("172.16.0.0/12", "private"),
		b("192.168.0.0/16", "private"),
		b("100.64.0.0/10", "carrier-grade NAT"),
		b("169.254.0.0/16", "link-local"),
		b("fe80::/10", "link-local"),
		b("fec0::/10", "site-local"),
		b("fc00::/7", "unique local"),
		b("224.0.0.0/4", "multicast"),
		b("ff00::/8", "multicast"),
		b("192.0.0.0/24", "protocol assignments"),
		b("198.18.0.0/15", "benchmarking"),
		b("192.88.99.0/24", "6to4 relay"),
		b("240.0.0.0/4", "reserved"),
		b("64:ff9b:1::/48", "local IPv4/IPv6 translation"),
		b("100::/64", "discard"),
		b("2001::/23", "protocol assignments"), // Teredo too
		b("2002::/16", "6to4"),
		b("5f00::/16", "segment routing"),
		b("::/8", "reserved"), // IPv4-compatible and -mapped too; not 64:ff9b::
	}
}

// special returns the block that keeps an address from being dialled without
// a rule, if there is one. own are the host's addresses.
func special(addr netip.Addr, own []netip.Addr) (b block, ok bool) {
	addr = addr.Unmap().WithZone("")
	single := netip.PrefixFrom(addr, addr.BitLen())
	if slices.Contains(own, addr) {
		b, ok = block{prefix: single, what: "the host's own", single: true}, true
	}
	// RFC 6052: the last four bytes are an IPv4 address.
	if netip.MustParsePrefix("64:ff9b::/96").Contains(addr) {
		raw := addr.As16()
		if inner, is := special(netip.AddrFrom4([4]byte(raw[12:])), own); is {
			return block{prefix: single, what: inner.what, single: true}, true
		}
		return b, ok
	}
	if ok && !addr.IsLoopback() {
		return b, true
	}
	for _, b := range blocks() {
		if b.prefix.Contains(addr) {
			if b.single {
				b.prefix = single
			}
			return b, true
		}
	}
	return b, ok
}

// ownFor is how long the host's addresses are taken to be the same: to ask for
// them takes longer than to connect. See ownless for those that are newer.
const ownFor = time.Second

// remembered asks for the host's addresses at most every ownFor.
func remembered(ask func() ([]netip.Addr, error)) func() ([]netip.Addr, error) {
	var mu sync.Mutex // guards what follows
	var own []netip.Addr
	var asked time.Time
	return func() ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(asked) < ownFor {
			return own, nil
		}
		now, err := ask()
		if err != nil {
			return nil, err
		}
		own, asked = now, time.Now()
		return own, nil
	}
}

// ownAddrs returns the addresses of the host's interfaces.
func ownAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, addr.Unmap())
			}
		}
	}
	return own, nil
}
