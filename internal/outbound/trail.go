// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the connections that follow from a host that somebody
// named: an address in a Dockerfile with its redirects, a registry with its
// token server and its storage. Whoever answers may send one on, and a name may
// have any address, so each address that is really connected to is held against
// the rules of the sandbox's gateway: what is not the public internet's needs a
// rule, or has to be in the same network as what was named.
//
// It runs in the process that builds or pulls. A Trail may be used by several
// goroutines.
package outbound

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// Rules say what an administrator or the caller allows and denies.
type Rules interface {
	// Refuses returns why a host that is asked for, a name or an address, is not
	// to be reached at a port, "" if nothing speaks against it.
	Refuses(host string, port uint16) string
	// Denies does the same for an address that a name has.
	Denies(to netip.AddrPort) string
	// Grants reports whether a rule lets one reach the address, which belongs to
	// the block and was asked for as host.
	Grants(host string, to netip.AddrPort, block address.Block) bool
}

// RefusedError is a host or an address that is not connected to.
type RefusedError struct {
	Host string
	// To is the address, if one was the reason.
	To  netip.AddrPort
	Why string
	// Granted: a rule for the address would let one reach it.
	Granted bool
}

func (e *RefusedError) Error() string {
	if !e.To.IsValid() || e.To.Addr().String() == e.Host {
		return e.Host + " is not connected to: " + e.Why
	}
	return fmt.Sprintf("%s is not connected to: its address %s: %s", e.Host, e.To.Addr(), e.Why)
}

// Trail is what one named host leads to.
type Trail struct {
	// Host is the name or address that was named, without a port.
	Host string
	// Chosen: a person chose Host, so it may be on this machine or in a private
	// network, and may lead to others there. Otherwise a file that may be
	// anybody's names it, and only rules open those.
	Chosen bool
	// Mixed: Host may have public addresses and private ones, as where TLS
	// proves that it is what it says.
	Mixed bool
	// Rules is nil where there are none.
	Rules Rules
	// Own returns the host's addresses; nil asks the kernel.
	Own func() ([]netip.Addr, error)

	mu sync.Mutex // guards the rest
	// home are the addresses that Host had when it was first connected to.
	home []netip.Addr
}

// dialTime bounds connecting to one host.
const dialTime = 30 * time.Second

// DialContext connects to "host:port" where that is allowed.
func (t *Trail) DialContext(ctx context.Context, network, to string) (net.Conn, error) {
	host, port, err := split(to)
	if err != nil {
		return nil, err
	}
	if err := t.checkName(host, port); err != nil {
		return nil, err
	}
	if err := t.settle(ctx, host); err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTime, KeepAlive: dialTime}
	d.ControlContext = func(_ context.Context, _, at string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		return t.check(host, ap)
	}
	c, err := d.DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	if err := t.checkOwn(host, c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// CheckProxied holds against the rules what a proxy is asked for. The name is
// the proxy's to resolve.
func (t *Trail) CheckProxied(host string, port uint16) error {
	if err := t.checkName(host, port); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return t.check(host, netip.AddrPortFrom(a, port))
	}
	if isLocalName(host) {
		return t.check(host, netip.AddrPortFrom(netip.IPv6Loopback(), port))
	}
	return nil
}

func isLocalName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// checkName refuses what no name is, and what the rules deny by name.
func (t *Trail) checkName(host string, port uint16) error {
	if _, err := netip.ParseAddr(host); err != nil && numeric(host) {
		return &RefusedError{Host: host, Why: "it ends in a number, and is no address in its usual form"}
	}
	if t.Rules == nil {
		return nil
	}
	if why := t.Rules.Refuses(host, port); why != "" {
		return &RefusedError{Host: host, Why: why}
	}
	return nil
}

// numeric reports whether resolvers may take a name for an IPv4 address: in
// octal, hexadecimal or of fewer than four parts.
func numeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if rest, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// settle finds out where the named host is, before it is first connected to:
// an answer later on may be made up to lead elsewhere.
func (t *Trail) settle(ctx context.Context, host string) error {
	if !t.named(host) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.home != nil {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		t.home = append(t.home, address.Canonical(a))
	}
	return nil
}

func (t *Trail) named(host string) bool { return strings.EqualFold(host, t.Host) }

func (t *Trail) own() ([]netip.Addr, error) {
	if t.Own != nil {
		return t.Own()
	}
	return address.Own()
}

// check decides about one address of a host.
func (t *Trail) check(host string, to netip.AddrPort) error {
	to = netip.AddrPortFrom(address.Canonical(to.Addr()), to.Port())
	if t.Rules != nil {
		if why := t.Rules.Denies(to); why != "" {
			return &RefusedError{Host: host, To: to, Why: why}
		}
	}
	own, err := t.own()
	if err != nil {
		return fmt.Errorf("addresses of the host: %w", err)
	}
	b, special := address.Special(to.Addr(), own)
	if !special || t.Rules != nil && t.Rules.Grants(host, to, b) || t.leads(host, to.Addr(), b, own) {
		return nil
	}
	return &RefusedError{Host: host, To: to, Why: "it is " + b.What + ", and no rule grants it", Granted: true}
}

// leads reports whether the host that was chosen may lead to an address that is
// not public: its own, or another one of the networks that it is in itself.
func (t *Trail) leads(host string, to netip.Addr, b address.Block, own []netip.Addr) bool {
	if !t.Chosen || b.Scope == address.Barred {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	nearest := address.Local + 1 // of the places where the host is: the one that is farthest away
	for _, h := range t.home {
		hb, special := address.Special(h, own)
		if !special || hb.Scope == address.Barred {
			return t.Mixed && t.named(host) && slices.Contains(t.home, to)
		}
		nearest = min(nearest, hb.Scope)
	}
	return len(t.home) > 0 && b.Scope <= nearest || t.named(host) && slices.Contains(t.home, to)
}

// checkOwn refuses a connection of the host with itself through an address that
// it has got since it was asked for its own.
func (t *Trail) checkOwn(host string, c net.Conn) error {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	remote, is := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !is || !local.IP.Equal(remote.IP) {
		return nil
	}
	return t.check(host, remote.AddrPort())
}

func split(to string) (string, uint16, error) {
	host, text, err := net.SplitHostPort(to)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %.20q: %w", text, err)
	}
	return host, uint16(port), nil
}
