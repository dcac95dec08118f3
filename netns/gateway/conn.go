// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// conn is one connection. Its goroutine owns it but for what mu guards.
type conn struct {
	id       uint64
	client   *net.TCPConn
	src, dst netip.AddrPort
	host     policy.Host
	port     uint16
	start    time.Time
	said     string
	recorded func()       // records its start, once
	wait     func() error // for a share of the budget
	early    early        // made before it was accepted
	shared

	sent, received uint64 // written by the copying goroutines, read after them
}

// shared is what others see of a connection. It is guarded by Gateway.mu once the
// connection is in the table; decision and target are written once.
type shared struct {
	decision policy.Decision
	up       *net.TCPConn
	target   target
	cut      string // why it was cut
	told     bool   // its end is on record
	saying   bool   // nothing more is copied to the program: it is told why
	bytes    uint64 // seen by the last look for idle connections
	moved    time.Time
}

// Conn is what can be seen of a connection.
type Conn struct {
	ID       uint64         `json:"id"`
	Host     string         `json:"host"`
	Port     uint16         `json:"port"`
	Upstream netip.AddrPort `json:"upstream,omitzero"`
	Rule     string         `json:"rule"`
	Proto    policy.Proto   `json:"proto"`
	Since    time.Time      `json:"since"`
	// Sent and Received are the sandbox's, and as the kernel counts them now.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}

func (g *Gateway) add(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	c.id = g.last
	g.conns[c] = struct{}{}
	g.names[c.host.Name]++
}

func (g *Gateway) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	if g.names[c.host.Name]--; g.names[c.host.Name] == 0 {
		delete(g.names, c.host.Name)
	}
}

// Busy reports whether a name has connections.
func (g *Gateway) Busy(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.names[name] > 0
}

// Conns returns the connections there are.
func (g *Gateway) Conns() []Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Conn, 0, len(g.conns))
	for c := range g.conns {
		out = append(out, c.view())
	}
	return out
}

// Open returns the open connections as the events that their ends would be now.
func (g *Gateway) Open() []event.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]event.Event, 0, len(g.conns))
	for c := range g.conns {
		if c.up == nil || c.told {
			continue // not dialled yet, or not open any more
		}
		e := event.Event{
			Kind: event.Close, Verdict: event.Allowed, Rule: c.decision.Rule,
			Name: c.host.Name, Addr: c.dst.Addr(), Port: c.port, Upstream: c.target.addr,
		}
		e.Sent, e.Received = transferred(c.client)
		out = append(out, e)
	}
	return out
}

func (c *conn) view() Conn {
	v := Conn{
		ID: c.id, Host: c.host.String(), Port: c.port, Upstream: c.target.addr,
		Rule: c.decision.Rule, Proto: c.decision.Proto, Since: c.start,
	}
	v.Sent, v.Received = transferred(c.client)
	return v
}

// Cut ends the connections that which names; their end is recorded with the
// reason.
func (g *Gateway) Cut(reason string, which func(Conn) bool) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for c := range g.conns {
		if which(c.view()) {
			c.end(reason)
			n++
		}
	}
	return n
}

// end is called with mu held.
func (c *conn) end(reason string) {
	if c.cut == "" {
		c.cut = reason
	}
	reset(c.client)
	if c.up != nil {
		reset(c.up)
	}
}

const policyChanged = "the policy has changed"

// Recheck cuts the connections that the policy allows no longer, or not
// without a check that they have not had. It is to be called after each change
// of the policy.
func (g *Gateway) Recheck() int {
	p := g.o.Policy()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for c := range g.conns {
		now := p.Decide(c.host, c.port)
		ok := now.Allowed && (now.Proto == policy.Raw || c.decision.Proto == "" || now.Proto == c.decision.Proto)
		if to := c.target.addr; to.IsValid() && p.Denies(to.Addr(), to.Port()) {
			ok = false
		}
		if c.target.grant.IsValid() {
			ok = ok && p.Grants(c.target.addr.Addr(), c.port, c.target.grant)
		}
		if !ok {
			c.end(policyChanged)
			n++
		}
	}
	return n
}

// watch cuts idle connections until the context ends.
func (g *Gateway) watch(ctx context.Context) {
	every := time.NewTicker(max(g.o.Limits.Idle/4, time.Millisecond))
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		now := time.Now()
		g.mu.Lock()
		for c := range g.conns {
			sent, received := transferred(c.client)
			if n := sent + received; n != c.bytes {
				c.bytes, c.moved = n, now
			} else if now.Sub(c.moved) >= g.o.Limits.Idle {
				c.end("idle")
			}
		}
		g.mu.Unlock()
	}
}

// transferred returns how many bytes the sandbox has sent and received over a
// connection, as the kernel counts them.
func transferred(c *net.TCPConn) (sent, received uint64) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			sent, received = info.Bytes_received, info.Bytes_acked
		}
	})
	return sent, received
}

// splice joins both sides until both have ended. It returns the first error,
// which is nil after two orderly ends.
func (g *Gateway) splice(c *conn) error {
	return g.join(c, func() error { return g.pump(c, c.up, c.client, &c.sent) })
}

// join copies from the host to the program while send does the other
// direction. Each passes on the end of its side (half-close); an error ends
// both. An anew of send ends the copying only.
func (g *Gateway) join(c *conn, send func() error) error {
	var wg sync.WaitGroup
	var down error
	wg.Go(func() {
		err := g.pump(c, c.client, c.up, &c.received)
		down = err
		if err == nil {
			err = c.client.CloseWrite()
		}
		if err != nil {
			g.mu.Lock()
			if !c.saying || c.cut != "" {
				c.end("")
			}
			g.mu.Unlock()
		}
	})
	err := send()
	if last, ok := errors.AsType[lastAnswer](err); ok {
		g.stopAnswer(c)
		wg.Wait()
		g.say403(c, last)
		c.hearOut()
		return last
	}
	if next, ok := errors.AsType[anew](err); ok {
		g.stopAnswer(c)
		wg.Wait()
		if down == nil { // the host has ended the connection, and the program knows
			return nil
		}
		g.mu.Lock()
		c.saying = false
		g.mu.Unlock()
		if err := c.client.SetWriteDeadline(time.Time{}); err != nil {
			return err
		}
		return next
	}
	if err == nil {
		err = c.up.CloseWrite()
	}
	if err != nil && !errors.Is(err, unix.ENOTCONN) {
		g.mu.Lock()
		c.end("")
		g.mu.Unlock()
	}
	wg.Wait()
	if err == nil || errors.Is(err, net.ErrClosed) && down != nil {
		err = down
	}
	return err
}

// stopAnswer ends the copying to the program, but not the connection.
func (g *Gateway) stopAnswer(c *conn) {
	g.mu.Lock()
	c.saying = true
	g.mu.Unlock()
	now := time.Now()
	_ = c.client.SetWriteDeadline(now.Add(lastWord))
	_ = c.up.SetReadDeadline(now)
}

// finish records the end of a connection that was open.
func (g *Gateway) finish(c *conn, err error) {
	_ = c.up.Close()
	c.recorded()
	g.mu.Lock()
	why := c.cut
	c.told = true
	g.mu.Unlock()
	verdict := event.Allowed
	var r refusal
	switch {
	case why != "":
	case errors.As(err, &r):
		why, verdict = r.Error(), event.Denied
	case err != nil && errors.Is(err, unix.ECONNRESET):
		why = "reset"
	case err != nil && !errors.Is(err, net.ErrClosed):
		why = "broken off"
	}
	g.record(c, event.Event{
		Kind: event.Close, Verdict: verdict, Reason: why,
		Sent: c.sent, Received: c.received, Duration: time.Since(c.start),
	})
}

// originalDst asks the kernel's connection tracking (netfilter's
// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, both 80).
func originalDst(c *net.TCPConn) (dst netip.AddrPort, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return dst, err
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	v4 := ok && local.IP.To4() != nil
	cerr := raw.Control(func(fd uintptr) { dst, err = sockOriginalDst(int(fd), v4) })
	return dst, errors.Join(cerr, err)
}
