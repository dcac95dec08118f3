// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Limits of one sandbox. Zero values mean the defaults.
type Limits struct {
	Conns     int           // at a time: 512, or fewer if there are not the descriptors
	PerSecond int           // new connections: 200, and as many again at once; more wait
	Queue     time.Duration // how long a connection waits for a place: 10 s
	Head      time.Duration // for a ClientHello or a request's head: 15 s
	Connect   time.Duration // for resolving and dialling: 30 s
	Idle      time.Duration // without a byte in either direction: 1 h
}

func (l Limits) withDefaults() Limits {
	or := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	if l.Conns == 0 {
		l.Conns = 512
	}
	if l.PerSecond == 0 {
		l.PerSecond = 200
	}
	or(&l.Queue, 10*time.Second)
	or(&l.Head, 15*time.Second)
	or(&l.Connect, 30*time.Second)
	or(&l.Idle, time.Hour)
	return l
}

// Options of a Gateway. Policy, Name and Record are needed, the rest has
// defaults that use the namespace of the calling process.
type Options struct {
	Policy func() *policy.Policy
	// Name returns the name that an address of the sandbox stands for.
	Name func(netip.Addr) (string, bool)
	// Synthetic are the ranges that those addresses are from. One that stands
	// for no name leads nowhere.
	Synthetic []netip.Prefix
	Record    func(event.Event)
	Limits    Limits
	// Budget bounds the processor time of the work; nil is without a bound.
	Budget *cpubudget.Budget
	// Search are the domains that the sandbox's resolver completes short names
	// with. A program says the short one.
	Search []string

	// Resolve returns the addresses of a canonical name.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	Dial    func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error)
	// Own returns the addresses of the host itself.
	Own func() ([]netip.Addr, error)
	// Proxy returns the proxy to dial through, or nil.
	Proxy func(h policy.Host, port uint16) (*url.URL, error)
	// OriginalDst returns where a connection was going before it was
	// redirected.
	OriginalDst func(*net.TCPConn) (netip.AddrPort, error)
	// Failed is told of hosts that could not be reached, with the address
	// that the program connected to.
	Failed func(dst netip.AddrPort, why Failure)
	// Process names the program behind a connection, if that can be told.
	Process func(src, dst netip.AddrPort) string
}

// Gateway serves the connections of one sandbox. Its methods are safe for
// concurrent use.
type Gateway struct {
	dialer
	limit *rate.Limiter
	// probes limits Probe as limit does what is accepted.
	probes   *rate.Limiter
	maxEarly int
	buffers  *sync.Pool

	mu    sync.Mutex // guards what follows, and what conns have shared
	conns map[*conn]struct{}
	names map[string]int // connections by name
	early map[flow]early
	last  uint64
}

// tokens bound what there is at a time, one token for each: connections, tries beside
// another, pipes, and questions.
type tokens struct{ places, beside, pipes, asking chan struct{} }

// New returns a gateway; Serve runs it.
func New(o Options) *Gateway {
	o.Limits = o.Limits.withDefaults()
	var known *memory
	if o.Resolve == nil {
		known = newMemory(defaultResolve)
		o.Resolve = known.resolve
	}
	if o.Dial == nil {
		o.Dial = defaultDial
	}
	late := o.Own == nil
	if late {
		o.Own = address.Remembered(address.Own)
	}
	if o.OriginalDst == nil {
		o.OriginalDst = originalDst
	}
	per := o.Limits.PerSecond
	has := shareOf(descriptors())
	o.Limits.Conns = min(o.Limits.Conns, has.conns)
	return &Gateway{
		dialer: dialer{o: o, known: known, late: late, tokens: tokens{
			places: make(chan struct{}, o.Limits.Conns), beside: make(chan struct{}, has.beside),
			pipes: make(chan struct{}, has.pipes), asking: make(chan struct{}, has.resolve),
		}},
		maxEarly: has.early, buffers: newBuffers(),
		limit: rate.NewLimiter(rate.Limit(per), 2*per), probes: rate.NewLimiter(rate.Limit(per), 2*per),
		conns: map[*conn]struct{}{}, names: map[string]int{}, early: map[flow]early{},
	}
}

// pause is what accepting waits after an error that may pass, such as a lack
// of descriptors.
const pause = 10 * time.Millisecond

// Serve accepts connections until the context ends or the listener is closed,
// then cuts those there are, of other listeners too, and waits for its own. It
// closes the listener.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		g.Cut(ending, func(Conn) bool { return true })
	})
	var wg sync.WaitGroup
	wg.Go(func() { g.watch(ctx) })
	defer wg.Wait()
	defer stop()
	defer g.Cut(ending, func(Conn) bool { return true })
	defer g.dropEarly()
	defer cancel()
	defer l.Close()
	var full time.Time
	for {
		raw, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		c := raw.(*net.TCPConn)
		if why := g.admit(ctx, c, &full); why != "" {
			reset(c)
			g.o.Record(event.Event{
				Kind: event.Connect, Verdict: event.Denied, Version: g.o.Policy().Version(), Reason: why,
			})
			continue
		}
		wg.Go(func() {
			defer func() { <-g.places }()
			g.handle(ctx, c)
		})
	}
}

// handle serves one connection from its acceptance to its end.
func (g *Gateway) handle(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	c := &conn{client: client, src: remote(client), start: time.Now(), shared: shared{moved: time.Now()}}
	c.wait = func() error { return g.o.Budget.Wait(ctx) }
	// What a connection sends must not end the sandbox; it ends the connection.
	defer func() {
		if recover() != nil {
			g.refuse(c, refusal("internal error"))
			if c.up != nil {
				reset(c.up)
			}
		}
	}()
	dst, err := g.o.OriginalDst(client)
	if err != nil {
		g.refuse(c, refusal("no original destination: "+err.Error()))
		return
	}
	c.dst = netip.AddrPortFrom(address.Canonical(dst.Addr()), dst.Port())
	c.port = c.dst.Port()
	c.early, _ = g.takeEarly(flow{c.src, c.dst})
	defer func() {
		if c.early.up != nil {
			_ = c.early.up.Close() // it was not let out
		}
	}()
	if err := g.identify(c); err != nil {
		g.refuse(c, err)
		return
	}
	// First into the table, then the decision: whoever changes the policy
	// later finds the connection there.
	g.add(c)
	defer g.remove(c)
	if ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	c.decision = g.o.Policy().Decide(c.host, c.port)
	g.mu.Unlock()
	if !c.decision.Allowed {
		g.refuse(c, refusal(c.decision.Reason))
		return
	}
	switch c.decision.Proto {
	case policy.TLS:
		g.serveTLS(ctx, c)
	case policy.HTTP:
		g.serveHTTP(ctx, c)
	default:
		if g.open(ctx, c) {
			g.finish(c, g.splice(c))
		}
	}
}

// identify finds out which host the sandbox means.
func (g *Gateway) identify(c *conn) error {
	a := c.dst.Addr()
	name, ok := g.o.Name(a)
	switch {
	case ok:
		c.host = policy.Host{Name: name}
	case slices.ContainsFunc(g.o.Synthetic, func(p netip.Prefix) bool { return p.Contains(a) }):
		return refusal(noName)
	default:
		c.host = policy.Host{Addr: a}
	}
	return nil
}

// open dials the connection's host. When that fails, the program learns it as
// soon as it can: its connection is reset.
func (g *Gateway) open(ctx context.Context, c *conn) bool {
	up, t, has := g.reuse(c)
	var err error
	if !has {
		up, t, err = g.dial(ctx, c)
	}
	if err != nil {
		if r, ok := errors.AsType[refusal](err); ok {
			g.refuse(c, r)
			return false
		}
		why := failureOf(err)
		if g.o.Failed != nil {
			g.o.Failed(c.dst, why) // before the program can try again
		}
		g.record(c, event.Event{Kind: event.Connect, Verdict: event.Failed, Reason: string(why)})
		reset(c.client)
		return false
	}
	if cut := g.keep(c, up, t); cut != "" {
		g.refuse(c, refusal(cut))
		return false
	}
	e := g.describe(c, event.Event{Kind: event.Connect, Verdict: event.Allowed, Time: time.Now()})
	c.recorded = sync.OnceFunc(func() {
		e.Process = g.process(c)
		g.o.Record(e)
	})
	time.AfterFunc(bytesFirst, c.recorded)
	return true
}

// keep makes up the connection's, unless it was cut or the policy has changed
// since, which it returns.
func (g *Gateway) keep(c *conn, up *net.TCPConn, t target) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, cut := c.up, c.cut
	c.up, c.target = up, t
	if old != nil {
		_ = old.Close()
	}
	if cut == "" && t.grant.IsValid() && !g.o.Policy().Grants(t.addr.Addr(), c.port, t.grant) {
		cut = policyChanged
	}
	if cut != "" {
		_ = up.Close()
	}
	return cut
}

// bytesFirst is how long the start of an open connection goes unrecorded, unless
// it ends before: to find the process takes as long as all the rest, and a
// processor that the first bytes need.
const bytesFirst = time.Millisecond

// refuse records why and resets the connection, in this order: the process
// behind it can be told only as long as it is there.
func (g *Gateway) refuse(c *conn, why error) {
	defer reset(c.client)
	g.mu.Lock()
	reason := c.cut
	g.mu.Unlock()
	var r refusal
	switch {
	case reason != "":
	case errors.As(why, &r):
		reason = r.Error()
	default:
		reason = "broken off" // the program's doing
	}
	g.record(c, event.Event{Kind: event.Connect, Verdict: event.Denied, Reason: reason})
}

// record records a decision on the connection.
func (g *Gateway) record(c *conn, e event.Event) {
	e = g.describe(c, e)
	if e.Kind == event.Connect {
		e.Process = g.process(c)
	}
	g.o.Record(e)
}

func (g *Gateway) process(c *conn) string {
	if g.o.Process == nil {
		return ""
	}
	return g.o.Process(c.src, c.dst)
}

// describe fills in what is known of the connection.
func (g *Gateway) describe(c *conn, e event.Event) event.Event {
	e.Version, e.Rule, e.Preset, e.Proto = c.decision.Version, c.decision.Rule, c.decision.Preset, string(c.decision.Proto)
	if e.Version == 0 {
		e.Version = g.o.Policy().Version()
	}
	e.Name, e.Addr, e.Port, e.Source, e.Said = c.host.Name, c.dst.Addr(), c.port, c.src, clip(c.said)
	e.Upstream = c.target.addr
	return e
}

// reset closes a connection so that the peer sees it was not the end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
