// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// refusal is a decision against a connection; its text is the reason.
type refusal string

func (r refusal) Error() string { return string(r) }

func isRefusal(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok
}

const (
	maxAddrs = 8                      // that are tried of a name's
	stagger  = 250 * time.Millisecond // RFC 8305, 5
)

// defaultResolve asks the host's resolver, its hosts file included. The name is
// absolute, so that no search domain is tried.
func defaultResolve(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name+".")
}

func defaultDial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false) // splice(2) wants plain TCP
	return d.DialTCP(ctx, "tcp", netip.AddrPort{}, to)
}

// target is what may be dialled for a connection.
type target struct {
	addr netip.AddrPort
	// grant is the block of an address that a rule had to grant.
	grant netip.Prefix
}

// dialer connects to hosts from the host's network: it asks for their addresses, refuses
// those that no rule grants, and tries the others. It knows nothing of other connections.
type dialer struct {
	o     Options
	known *memory // of names; nil with a Resolve of the caller's
	late  bool    // Own may not know the newest address, see ownless
	tokens
}

// dial connects to the connection's host: resolve, refuse, dial, check.
func (d *dialer) dial(ctx context.Context, c *conn) (*net.TCPConn, target, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Limits.Connect)
	defer cancel()
	if d.o.Proxy != nil {
		p, err := d.o.Proxy(c.host, c.port)
		if err != nil {
			return nil, target{}, err
		}
		if p != nil {
			// A name is the proxy's to resolve; an address is checked here.
			if c.host.IsAddr() {
				if _, err := d.targets(ctx, c); err != nil {
					return nil, target{}, err
				}
			}
			up, err := dialProxy(ctx, p, c.host, c.port)
			return up, target{}, err
		}
	}
	up, t, err := d.reach(ctx, c)
	if err != nil && d.known != nil && !c.host.IsAddr() && d.known.forget(c.host.Name) && ctx.Err() == nil {
		up, t, err = d.reach(ctx, c) // where the host may have gone
	}
	return up, t, err
}

// reach connects to one of the addresses of the connection's host.
func (d *dialer) reach(ctx context.Context, c *conn) (*net.TCPConn, target, error) {
	targets, err := d.targets(ctx, c)
	if err != nil {
		return nil, target{}, err
	}
	if len(targets) > 1 {
		up, t, err := d.race(ctx, targets)
		return d.ownless(up, t, err)
	}
	up, err := d.dialOne(ctx, targets[0])
	return d.ownless(up, targets[0], err)
}

// dialOne connects to one target, and to nothing else.
func (d *dialer) dialOne(ctx context.Context, t target) (*net.TCPConn, error) {
	up, err := d.o.Dial(ctx, t.addr)
	if err == nil && remote(up) != t.addr {
		_ = up.Close()
		err = refusal(fmt.Sprintf("connected to %s instead of %s", remote(up), t.addr))
	}
	return up, err
}

// ownless refuses a connection of the host with itself, which no rule grants: its
// addresses may have changed since they were asked for.
func (d *dialer) ownless(up *net.TCPConn, t target, err error) (*net.TCPConn, target, error) {
	if err != nil || !d.late || t.grant.IsValid() {
		return up, t, err
	}
	if local, ok := up.LocalAddr().(*net.TCPAddr); ok && local.AddrPort().Addr().Unmap() == t.addr.Addr() {
		_ = up.Close()
		return nil, target{}, refusal(fmt.Sprintf("address %s is the host's own, and no rule grants it", t.addr.Addr()))
	}
	return up, t, nil
}

// targets returns the addresses to try, in order, of which there is at least
// one.
func (d *dialer) targets(ctx context.Context, c *conn) ([]target, error) {
	addrs := []netip.Addr{c.host.Addr}
	if !c.host.IsAddr() {
		var err error
		if addrs, err = d.resolve(ctx, c.host.Name); err != nil {
			return nil, fmt.Errorf("resolve: %w", err)
		}
	}
	own, err := d.o.Own()
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	var four, six []target
	err = refusal("the name has no address")
	p := d.o.Policy()
	for _, a := range addrs {
		a = address.Canonical(a)
		t, why := admit(p, a, c.port, own)
		if why != nil {
			err = why
			continue
		}
		if a.Is4() {
			four = append(four, t)
		} else {
			six = append(six, t)
		}
	}
	all := interleave(six, four)
	if len(all) == 0 {
		return nil, err
	}
	return all[:min(len(all), maxAddrs)], nil
}

// admit says whether an address may be dialled.
func admit(p *policy.Policy, a netip.Addr, port uint16, own []netip.Addr) (target, error) {
	t := target{addr: netip.AddrPortFrom(a, port)}
	if p.Denies(a, port) {
		return t, refusal(fmt.Sprintf("address %s: %s", a, policy.ReasonDeny))
	}
	b, is := address.Special(a, own)
	if !is {
		return t, nil
	}
	if !p.Grants(a, port, b.Prefix) {
		return t, refusal(fmt.Sprintf("address %s is %s, and no rule grants it", a, b.What))
	}
	t.grant = b.Prefix
	return t, nil
}

// interleave alternates between the families, as RFC 8305 section 4 has it.
func interleave(first, second []target) []target {
	out := make([]target, 0, len(first)+len(second))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}

type dialled struct {
	up  *net.TCPConn
	t   target
	err error
}

// race tries the targets one after the other, the next when the one before
// fails or takes long, and returns the first connection.
func (d *dialer) race(ctx context.Context, targets []target) (*net.TCPConn, target, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialled)
	running := 0
	dial := d.dialOne // the first; the others need a token
	start := func() {
		t, try := targets[0], dial
		targets, dial = targets[1:], d.dialBeside
		running++
		go func() {
			up, err := try(ctx, t)
			results <- dialled{up, t, err}
		}()
	}
	defer func() {
		cancel()
		go func(n int) {
			for range n {
				if r := <-results; r.err == nil {
					_ = r.up.Close()
				}
			}
		}(running)
	}()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	start()
	var errs []error
	for running > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.up, r.t, nil
			}
			errs = append(errs, r.err)
		case <-timer.C:
		}
		if len(targets) > 0 {
			start()
			timer.Reset(stagger)
		}
	}
	return nil, target{}, errors.Join(errs...)
}

func remote(c net.Conn) netip.AddrPort {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Failure is why an allowed host could not be reached.
type Failure string

const (
	Refused     Failure = "connection refused"
	Unreachable Failure = "unreachable"
	Timeout     Failure = "timeout"
	NoName      Failure = "the name does not resolve"
	Other       Failure = "cannot connect"
)

// failureOf finds the cause that a program would have seen without a gateway.
func failureOf(err error) Failure {
	var de *net.DNSError
	var ne net.Error
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return NoName
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return Unreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, unix.ETIMEDOUT), errors.As(err, &ne) && ne.Timeout():
		return Timeout
	}
	return Other
}
