// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall is the packet filter of R. It is safe for concurrent use.
type firewall struct {
	mu    sync.Mutex // guards conn: messages are collected, then sent at once
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
	deny  *nftables.Chain
	guard *nftables.Chain
	rng   *nftables.Chain
	held  *nftables.Chain
	holds bool // packets are held back
}

// newFirewall applies the plan's ruleset in R, in one transaction.
func newFirewall(t *thread, r *os.File, p Plan) (*firewall, error) {
	f := &firewall{sets: map[string]*nftables.Set{}}
	err := t.inside(r, func() (err error) {
		f.conn, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet filter: %w", err)
	}
	f.table = f.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName})
	rules := p.ruleset()
	for _, name := range rules.sets {
		if err := f.addSet(name); err != nil {
			return nil, errors.Join(fmt.Errorf("packet filter: set %s: %w", name, err), f.close())
		}
	}
	chains := map[string]*nftables.Chain{}
	for _, c := range rules.chains {
		chains[c.name] = f.conn.AddChain(f.chain(c))
	}
	for _, c := range rules.chains {
		f.addRules(chains[c.name], c.rules)
	}
	f.deny, f.guard, f.rng, f.held = chains[chainDeny], chains[chainGuard], chains[chainRange], chains[chainHold]
	if err := f.conn.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("packet filter: %w", err), f.close())
	}
	return f, nil
}

func (f *firewall) addSet(name string) error {
	kind := nftables.TypeIPAddr
	if name[len(name)-1] == '6' {
		kind = nftables.TypeIP6Addr
	}
	key, err := nftables.ConcatSetType(kind, nftables.TypeInetService)
	if err != nil {
		return err
	}
	s := &nftables.Set{Table: f.table, Name: name, KeyType: key, Concatenation: true, HasTimeout: timed(name)}
	f.sets[name] = s
	return f.conn.AddSet(s, nil)
}

func (f *firewall) chain(c chain) *nftables.Chain {
	out := &nftables.Chain{Name: c.name, Table: f.table}
	if c.hook == nil {
		return out
	}
	out.Type = nftables.ChainType(c.hook.kind)
	out.Hooknum = map[string]*nftables.ChainHook{
		"prerouting": nftables.ChainHookPrerouting, "input": nftables.ChainHookInput,
		"forward": nftables.ChainHookForward, "output": nftables.ChainHookOutput,
	}[c.hook.at]
	out.Priority = new(nftables.ChainPriority(c.hook.priority))
	policy := nftables.ChainPolicyAccept
	if c.hook.drop {
		policy = nftables.ChainPolicyDrop
	}
	out.Policy = &policy
	return out
}

func (f *firewall) addRules(c *nftables.Chain, rules []rule) {
	for _, r := range rules {
		exprs := slices.Clone(r.code)
		for i, e := range exprs {
			if l, ok := e.(*expr.Lookup); ok {
				exprs[i] = &expr.Lookup{SourceRegister: l.SourceRegister, SetName: l.SetName, SetID: f.sets[l.SetName].ID}
			}
		}
		f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: c, Exprs: exprs})
	}
}

// element is the key of a set: fields start at multiples of four bytes.
func element(p pair) []byte {
	return append(append(p.addr.AsSlice(), bigEndian(p.port)...), 0, 0)
}

// setOf returns the set of the pair's family.
func (f *firewall) setOf(v4, v6 string, p pair) (*nftables.Set, bool) {
	name := v4
	if p.addr.Is6() {
		name = v6
	}
	s, ok := f.sets[name]
	return s, ok
}

// batch bounds one message, which the kernel reads whole.
const batch = 256

// allow adds to, or takes from, the set of allowed pairs.
func (f *firewall) allow(pairs []pair, remove bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change(pairs, remove); err != nil {
		return err
	}
	err := f.conn.Flush()
	if remove && errors.Is(err, unix.ENOENT) {
		return nil // the policy's change has taken it out
	}
	if err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	return nil
}

func (f *firewall) change(pairs []pair, remove bool) error {
	by := map[*nftables.Set][]nftables.SetElement{}
	for _, p := range pairs {
		if s, ok := f.setOf(setNames4, setNames6, p); ok {
			by[s] = append(by[s], nftables.SetElement{Key: element(p)})
		}
	}
	for s, elements := range by {
		for part := range slices.Chunk(elements, batch) {
			do := f.conn.SetAddElements
			if remove {
				do = f.conn.SetDeleteElements
			}
			if err := do(s, part); err != nil {
				return fmt.Errorf("packet filter: %w", err)
			}
		}
	}
	return nil
}

// holdBack has packets held back from the next replace on.
func (f *firewall) holdBack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds = true
}

// replace makes the pairs and the rules of ranges all that is allowed, in one
// transaction: no packet sees neither the old nor the new.
func (f *firewall) replace(pairs []pair, ranges, hold []rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{setNames4, setNames6} {
		if s, ok := f.sets[name]; ok {
			f.conn.FlushSet(s)
		}
	}
	if err := f.change(pairs, false); err != nil {
		return err
	}
	f.conn.FlushChain(f.rng)
	f.addRules(f.rng, ranges)
	f.conn.FlushChain(f.held)
	if f.holds {
		f.addRules(f.held, hold)
	}
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	return nil
}

// fate is how long a host that could not be reached is taken to be so, knownFor
// how long one that could be.
const (
	fate     = time.Second
	knownFor = 30 * time.Second
)

// failed has the next connections to the address fail as the last one did.
func (f *firewall) failed(to netip.AddrPort, refused bool) error {
	v4, v6 := setUnreach4, setUnreach6
	if refused {
		v4, v6 = setRefused4, setRefused6
	}
	if err := f.timed(v4, v6, to, fate); err != nil {
		return err
	}
	return f.forget(to)
}

// known has the next connections to the address come to the gateway at once.
func (f *firewall) known(to netip.AddrPort) error {
	return f.timed(setKnown4, setKnown6, to, knownFor)
}

func (f *firewall) timed(v4, v6 string, to netip.AddrPort, d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := pair{to.Addr(), to.Port()}
	s, ok := f.setOf(v4, v6, p)
	if !ok {
		return nil
	}
	if err := f.conn.SetAddElements(s, []nftables.SetElement{{Key: element(p), Timeout: d}}); err != nil {
		return err
	}
	return f.conn.Flush()
}

// forget takes an address out of those that are known to be reached.
func (f *firewall) forget(to netip.AddrPort) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := pair{to.Addr(), to.Port()}
	s, ok := f.setOf(setKnown4, setKnown6, p)
	if !ok {
		return nil
	}
	if err := f.conn.SetDeleteElements(s, []nftables.SetElement{{Key: element(p)}}); err != nil {
		return err
	}
	if err := f.conn.Flush(); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// denied returns how many packets were refused so far.
func (f *firewall) denied() (uint64, error) { return f.counted(f.deny) }

// forged returns how many packets came from another source than the sandbox.
func (f *firewall) forged() (uint64, error) { return f.counted(f.guard) }

func (f *firewall) counted(chain *nftables.Chain) (n uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rules, err := f.conn.GetRules(f.table, chain)
	if err != nil {
		return 0, fmt.Errorf("packet filter: %w", err)
	}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				n += c.Packets
			}
		}
	}
	return n, nil
}

func (f *firewall) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.CloseLasting()
}
