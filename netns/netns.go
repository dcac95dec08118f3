// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
	"github.com/claude-pocket-console/cpc/netns/names"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Options of a sandbox's network.
type Options struct {
	// Sandbox is the id that events carry.
	Sandbox string
	// Policy is what the sandbox may reach at first; nil is nothing.
	Policy *policy.Policy
	// Events is called for each decision, one at a time. It must not block.
	Events func(event.Event)
	// Sums is called every few seconds in which something has moved, with what
	// each destination has had until then. It may be nil.
	Sums   func([]event.Event)
	Limits gateway.Limits
	// NoIPv6 leaves IPv6 out, as it is where the kernel has none.
	NoIPv6 bool
	// Learn has every name answered and every connection reach the gateway,
	// which still refuses what the policy does not allow: so the events hold
	// everything that a program asks for first.
	Learn bool
	// Budget bounds the processor time that the process spends on the network;
	// nil is without a bound.
	Budget *cpubudget.Budget
	// Search are the domains with which the sandbox completes short names.
	Search []string
	// Host replaces parts of how the gateway reaches the host's network. Its
	// Policy, Name, Synthetic, Record, Limits, Budget, Search, Failed and Process
	// are set by Open.
	Host gateway.Options
}

// Net is the network of one sandbox. Its methods are safe for concurrent use,
// but for Connect and Close, which are the owner's. It holds R, the sockets in
// it and the goroutines that serve them.
type Net struct {
	o    Options
	plan Plan
	t    *thread
	r    *os.File

	rec  *event.Recorder
	pol  atomic.Pointer[policy.Policy]
	fw   *firewall
	pool *names.Pool
	dns  *names.Server
	gw   *gateway.Gateway
	who  atomic.Pointer[processes]

	packetLog
	holder holder
	serving

	mu sync.Mutex // serialises changes of the policy
}

// packetLog is what the kernel tells of packets that it has refused.
type packetLog struct {
	log  *nl.Conn
	told atomic.Uint64 // packets that have an event
}

// serving is what runs once the sandbox is connected.
type serving struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	linked bool
}

const unavailableHint = `The kernel must have network namespaces, veth and nf_tables, and this user must be allowed to use them. As root:
  sysctl -w user.max_net_namespaces=65536
  modprobe -a veth nf_tables nft_ct nft_nat nft_log nft_limit nft_reject_inet nf_nat nfnetlink_log
Or use --network none, or --network host, with which the sandbox reaches everything that this host reaches.`

// ErrUnavailable reports that the kernel, or what it allows this user, does not
// do for the network of a sandbox.
var ErrUnavailable = hint.New("the network of a sandbox cannot be made on this host",
	unavailableHint)

// Open makes the gateway's namespace R with its packet filter. Nothing is
// connected to it yet.
//
// Preconditions: CAP_SYS_ADMIN and CAP_NET_ADMIN in the caller's user
// namespace. A process that was started before Open with a parent-death signal
// may get it at Close, when a thread ends.
func Open(o Options) (*Net, error) {
	if o.Policy == nil {
		o.Policy = &policy.Policy{}
	}
	n := &Net{
		o: o, plan: newPlan(!o.NoIPv6 && hasIPv6(), o.Learn), t: startThread(),
		rec: event.NewRecorder(o.Sandbox, o.Events), holder: holder{waiting: map[netip.AddrPort][][]byte{}},
	}
	n.pol.Store(o.Policy)
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("network of %s: %w", o.Sandbox, err), n.Close())
	}
	return n, nil
}

func (n *Net) open() (err error) {
	if n.r, err = n.t.newNamespace(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if n.fw, err = newFirewall(n.t, n.r, n.plan); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if n.log, err = refusedPackets(n.t, n.r, n.plan.Group); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if n.holder.log, err = refusedPackets(n.t, n.r, n.plan.Group+1); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	n.pool, err = names.NewPool(names.PoolOptions{
		V4: n.plan.Pool4, V6: n.plan.Pool6, Skip: n.plan.Skip,
		Busy: func(name string) bool { return n.gw.Busy(name) }, Hook: opener{n},
	})
	if err != nil {
		return err
	}
	n.dns = names.NewServer(names.Options{Policy: n.pol.Load, Pool: n.pool, Record: n.rec.Record, Budget: n.o.Budget, All: n.o.Learn})
	host := n.o.Host
	host.Policy, host.Name, host.Synthetic = n.pol.Load, n.pool.Lookup, n.plan.synthetic()
	host.Record, host.Limits, host.Failed = n.rec.Record, n.o.Limits, n.failed
	host.Budget, host.Search = n.o.Budget, n.o.Search
	host.Process = func(src, dst netip.AddrPort) string {
		if w := n.who.Load(); w != nil {
			return w.of(src, dst)
		}
		return ""
	}
	n.gw = gateway.New(host)
	return n.sync()
}

func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// Plan returns what the kernel was told, but for the addresses of names.
func (n *Net) Plan() Plan { return n.plan }

// Connect connects the sandbox's namespace and starts to serve it. It is to be
// called once, before a program of the sandbox runs. The caller keeps s, and
// closes the Net if this fails.
func (n *Net) Connect(s *os.File) error {
	if err := notOwn(s); err != nil {
		return fmt.Errorf("network of %s: %w", n.o.Sandbox, err)
	}
	if err := connectLinks(n.t, n.r, s, n.plan); err != nil {
		return fmt.Errorf("network of %s: %w: %w", n.o.Sandbox, ErrUnavailable, err)
	}
	n.linked = true
	who, err := newProcesses(n.t, s)
	if err != nil {
		return fmt.Errorf("network of %s: %w", n.o.Sandbox, err)
	}
	n.who.Store(who)
	if err := n.serve(); err != nil {
		return fmt.Errorf("network of %s: %w", n.o.Sandbox, err)
	}
	if err := n.hold(s); err != nil {
		return fmt.Errorf("network of %s: %w", n.o.Sandbox, err)
	}
	return nil
}

// Policy returns the policy in force.
func (n *Net) Policy() *policy.Policy { return n.pol.Load() }

// SetPolicy puts another version in force, whose number must be higher. It
// returns after connections that it does not allow are cut, and how many.
func (n *Net) SetPolicy(p *policy.Policy) (cut int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have := n.pol.Load().Version(); p.Version() <= have {
		return 0, fmt.Errorf("policy of %s: version %d does not follow version %d", n.o.Sandbox, p.Version(), have)
	}
	// The gateway decides by the new policy before the packet filter does:
	// what that still lets through meanwhile, the gateway refuses.
	n.pol.Store(p)
	cut = n.gw.Recheck()
	n.rec.Record(event.Event{Kind: event.Policy, Verdict: event.Allowed, Version: p.Version()})
	return cut, n.sync()
}

// sync makes the packet filter allow what the policy does, for the names that
// have addresses.
func (n *Net) sync() error {
	return n.pool.With(func(all []names.Entry) error {
		p := n.pol.Load()
		var pairs []pair
		for _, e := range all {
			pairs = append(pairs, pairsOf(e, p)...)
		}
		return n.fw.replace(pairs, n.plan.rangeRules(p), n.plan.holdRules(p))
	})
}

func pairsOf(e names.Entry, p *policy.Policy) []pair {
	var out []pair
	for _, port := range p.Ports(policy.Host{Name: e.Name}) {
		for _, a := range []netip.Addr{e.V4, e.V6} {
			if a.IsValid() {
				out = append(out, pair{a, port})
			}
		}
	}
	return out
}

// opener lets connections to the addresses of names through.
type opener struct{ n *Net }

func (o opener) Added(e names.Entry) error {
	return o.n.fw.allow(pairsOf(e, o.n.pol.Load()), false)
}

func (o opener) Removed(e names.Entry) error {
	return o.n.fw.allow(pairsOf(e, o.n.pol.Load()), true)
}

// failed has what a host did to the gateway be seen by the sandbox's next
// tries. It is a courtesy: without it, they fail a little later.
func (n *Net) failed(dst netip.AddrPort, why gateway.Failure) {
	if why == gateway.Refused || why == gateway.Unreachable {
		_ = n.fw.failed(dst, why == gateway.Refused)
	}
}

// testFor is how long Test waits for the host's resolver.
const testFor = 5 * time.Second

// Test answers what would become of a connection to host and port, and by which
// rule. The host is as a user writes it. It asks the host's resolver, as a
// connection would.
func (n *Net) Test(ctx context.Context, host string, port uint16) (gateway.Answer, error) {
	h, err := policy.ParseHost(host)
	if err != nil {
		return gateway.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, testFor)
	defer cancel()
	return n.gw.Check(ctx, h, port), nil
}

// RuleStatus is a rule with how many connections it has decided.
type RuleStatus struct {
	Rule   string `json:"rule"`
	Preset string `json:"preset,omitempty"`
	Deny   bool   `json:"deny,omitempty"`
	Count  uint64 `json:"connections"`
}

// Status is what can be seen of a sandbox's network.
type Status struct {
	Version int `json:"policy"`
	// Limited: another policy narrows the rules.
	Limited bool           `json:"limited"`
	Rules   []RuleStatus   `json:"rules"`
	Totals  []event.Total  `json:"totals"`
	Conns   []gateway.Conn `json:"connections"`
	// Refused counts packets that the packet filter refused.
	Refused uint64 `json:"refused_packets"`
	// Forged counts those that it dropped because they were not from the
	// sandbox's address. A few are an interface's that comes up.
	Forged uint64 `json:"forged_packets"`
}

// Status returns the present state.
func (n *Net) Status() (Status, error) {
	p := n.pol.Load()
	count := n.rec.ByRule()
	s := Status{Version: p.Version(), Limited: len(p.Limits()) > 0, Totals: n.rec.Totals(), Conns: n.gw.Conns()}
	for _, side := range []struct {
		deny  bool
		rules []policy.Rule
	}{{false, p.Allow()}, {true, p.Deny()}} {
		for _, r := range side.rules {
			s.Rules = append(s.Rules, RuleStatus{Rule: r.String(), Preset: r.Preset, Deny: side.deny, Count: count[r.String()]})
		}
	}
	var err, other error
	s.Refused, err = n.fw.denied()
	s.Forged, other = n.fw.forged()
	err = errors.Join(err, other)
	slices.SortFunc(s.Conns, func(a, b gateway.Conn) int { return a.Since.Compare(b.Since) })
	return s, err
}

// Close cuts all connections, removes the veth and ends what serves it. The
// namespace R goes with its last descriptor.
func (n *Net) Close() error {
	var errs []error
	if n.cancel != nil {
		n.cancel()
	}
	if n.linked {
		errs = append(errs, disconnect(n.t, n.r, n.plan))
		n.linked = false
	}
	for _, c := range []*nl.Conn{n.log, n.holder.log} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	n.wg.Wait()
	if n.holder.inject != nil {
		n.holder.inject.close()
	}
	if n.fw != nil {
		n.countRefused()
		errs = append(errs, n.fw.close())
	}
	n.rec.Stop()
	if w := n.who.Swap(nil); w != nil {
		w.close()
	}
	if n.r != nil {
		errs = append(errs, n.r.Close())
	}
	if n.t != nil {
		n.t.stop()
	}
	n.fw, n.log, n.holder, n.r, n.t = nil, nil, holder{}, nil, nil
	return errors.Join(errs...)
}
