// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package address knows which addresses are not the public internet's, and the
// one form in which an address is decided about. The sandbox's gateway, ADD of
// a build and the registry client all ask it. It is pure but for Own, which
// asks the kernel; its functions may be called from any goroutine.
package address

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Scope is whose addresses a block has, from where cpc runs.
type Scope int

const (
	// Barred addresses are never what somebody means who names a host: cloud
	// metadata, link-local, multicast, reserved and translated ones.
	Barred Scope = iota
	// Private addresses are other machines' of a network behind the same door.
	Private
	// Local addresses are this machine's.
	Local
)

// Block is a range of addresses that are not the public internet's.
type Block struct {
	// Prefix is what a rule has to lie within to grant the address.
	Prefix netip.Prefix
	// What the range is, in a word or two.
	What string
	// Scope is whose addresses they are.
	Scope Scope
	// single: only a rule for the one address lets through, not for a range.
	single bool
}

// Canonical returns the form in which an address is decided about: IPv4 is
// IPv4 also where it is mapped into IPv6, and there is no zone.
func Canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// blocks lists what IANA's special-purpose address registries (RFC 6890 and
// its updates) do not call globally reachable, and where clouds serve
// credentials to whoever asks. The first that matches counts. The blocks for
// documentation are not here: by definition nobody is there to be protected.
func blocks() []Block {
	b := func(s, what string) Block { return Block{Prefix: netip.MustParsePrefix(s), What: what} }
	private := func(s, what string) Block { return Block{netip.MustParsePrefix(s), what, Private, false} }
	metadata := func(s string) Block { return Block{netip.MustParsePrefix(s), "cloud metadata", Barred, true} }
	local := func(s, what string) Block { return Block{netip.MustParsePrefix(s), what, Local, true} }
	return []Block{
		metadata("169.254.169.254/32"),
		metadata("169.254.170.0/24"),
		metadata("168.63.129.16/32"),
		metadata("100.100.100.200/32"),
		metadata("192.0.0.192/32"),
		metadata("fd00:ec2::/32"),
		metadata("fd20:ce::254/128"),
		local("127.0.0.0/8", "loopback"),
		local("::1/128", "loopback"),
		local("0.0.0.0/8", "this host"),
		local("::/128", "this host"),
		private("10.0.0.0/8", "private"),
		private("172.16.0.0/12", "private"),
		private("192.168.0.0/16", "private"),
		private("100.64.0.0/10", "carrier-grade NAT"),
		b("169.254.0.0/16", "link-local"),
		b("fe80::/10", "link-local"),
		private("fec0::/10", "site-local"),
		private("fc00::/7", "unique local"),
		b("224.0.0.0/4", "multicast"),
		b("ff00::/8", "multicast"),
		b("192.0.0.0/24", "protocol assignments"),
		private("198.18.0.0/15", "benchmarking"),
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

// Special returns the block that keeps an address from being dialled without
// a rule, if there is one. own are the host's addresses.
func Special(addr netip.Addr, own []netip.Addr) (b Block, ok bool) {
	addr = Canonical(addr)
	single := netip.PrefixFrom(addr, addr.BitLen())
	if slices.Contains(own, addr) {
		b, ok = Block{Prefix: single, What: "the host's own", Scope: Local, single: true}, true
	}
	nat64 := netip.MustParsePrefix("64:ff9b::/96").Contains(addr)
	for _, four := range Embedded(addr) {
		if inner, is := Special(four, own); is {
			if !nat64 { // nobody who names a host means such a form
				inner.Scope = Barred
			}
			return Block{Prefix: single, What: inner.What, Scope: inner.Scope, single: true}, true
		}
	}
	if nat64 {
		return b, ok // a public address behind it
	}
	if ok && !addr.IsLoopback() {
		return b, true
	}
	for _, b := range blocks() {
		if b.Prefix.Contains(addr) {
			if b.single {
				b.Prefix = single
			}
			return b, true
		}
	}
	return b, ok
}

// ownFor is how long the host's addresses are taken to be the same: to ask for
// them takes longer than to connect. Those that are newer are for the caller to
// notice: such a connection has the same address at both ends.
const ownFor = time.Second

// Remembered asks for the host's addresses at most every ownFor.
func Remembered(ask func() ([]netip.Addr, error)) func() ([]netip.Addr, error) {
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

// Own returns the addresses of the host's interfaces.
func Own() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, Canonical(addr))
			}
		}
	}
	return own, nil
}
