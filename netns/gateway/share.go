// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// share is how many of the process's descriptors the gateway may use, so that
// its owner can always be answered: three quarters at most. At a limit of 1024
// these are 256 connections of two, 64 connections made early, 64 tried beside
// another, 16 pipes, and 16 questions of a resolver.
type share struct{ conns, early, beside, pipes, resolve int }

func shareOf(limit uint64) share {
	n := int(min(limit, 1<<16)) //nolint:gosec // bounded
	part := func(of, most int) int { return max(min(n/of, most), 1) }
	return share{
		conns: part(4, 1<<16), early: part(16, maxEarly), beside: part(16, 64),
		pipes: part(64, 32), resolve: part(64, 64),
	}
}

// descriptors returns this process's limit.
func descriptors() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return l.Cur
}

// admit waits until a connection may be served, as it would in a listener's
// queue, and returns why it may not. full is since when there has been no place.
func (g *Gateway) admit(ctx context.Context, c *net.TCPConn, full *time.Time) string {
	if g.o.Budget.Wait(ctx) != nil {
		return ending
	}
	if !g.limit.Allow() {
		// What its program has left already must not keep the others waiting.
		if hasEnded(c) {
			return "too many new connections a second"
		}
		if g.limit.Wait(ctx) != nil {
			return ending
		}
	}
	select {
	case g.places <- struct{}{}:
		*full = time.Time{}
		return ""
	default:
	}
	if full.IsZero() {
		*full = time.Now()
	}
	timer := time.NewTimer(g.o.Limits.Queue - time.Since(*full))
	defer timer.Stop()
	select {
	case g.places <- struct{}{}:
		*full = time.Time{}
		return ""
	case <-ctx.Done():
		return ending
	case <-timer.C:
		return "too many connections at a time"
	}
}

// hasEnded reports whether a program has left: it was reset, or has had its end
// said a while ago. (Who only says that nothing more comes, waits for an answer.)
func hasEnded(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	const closed, closeWait, awhile = 7, 8, 2000 // linux/tcp_states.h; milliseconds
	ended := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		ended = err != nil || info.State == closed || info.State == closeWait && min(info.Last_data_recv, info.Last_ack_recv) >= awhile
	})
	return ended
}

const ending = "the sandbox ends"

// resolve asks for a name's addresses, with a bound on how many ask at a time.
func (d *dialer) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	select {
	case d.asking <- struct{}{}:
		defer func() { <-d.asking }()
		return d.o.Resolve(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialBeside connects to a target beside another try, if there is a descriptor
// for that.
func (d *dialer) dialBeside(ctx context.Context, t target) (*net.TCPConn, error) {
	select {
	case d.beside <- struct{}{}:
		defer func() { <-d.beside }()
		return d.dialOne(ctx, t)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
