// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// maxRules bounds a policy: decisions walk it.
const maxRules = 4096

// Policy is one immutable version of what a sandbox may reach. The zero value
// allows nothing.
type Policy struct {
	version int
	allow   []Rule
	deny    []Rule
	// limits are policies that must allow as well.
	limits []*Policy
}

// Decision is a policy's answer.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Rule is the id of the rule that decided; empty when none names the host.
	Rule    string `json:"rule,omitempty"`
	Preset  string `json:"preset,omitempty"`
	Proto   Proto  `json:"proto,omitempty"` // how to check an allowed connection
	Reason  string `json:"reason,omitempty"`
	Version int    `json:"version"`
}

// Reasons of a denial.
const (
	ReasonNoRule = "no rule names this host"
	ReasonPort   = "no rule names this host with this port"
	ReasonDeny   = "a deny rule names it"
	ReasonLimit  = "the host's administrator does not allow it"
)

// New returns version 1 of a policy of rules, each as ParseRule reads it or
// "@" and the name of a preset.
func New(allow, deny []string) (*Policy, error) {
	return (&Policy{}).With(allow, deny)
}

// Version returns the policy's number: 0 for the zero value, one more with
// each change.
func (p *Policy) Version() int { return p.version }

// Allow returns the allow rules, in order.
func (p *Policy) Allow() []Rule { return slices.Clone(p.allow) }

// Deny returns the deny rules, in order.
func (p *Policy) Deny() []Rule { return slices.Clone(p.deny) }

// Limits returns the policies that p is narrowed by.
func (p *Policy) Limits() []*Policy { return slices.Clone(p.limits) }

// With returns the next version, which has more rules. A deny rule wins over
// each allow rule, whichever is newer.
func (p *Policy) With(allow, deny []string) (*Policy, error) {
	next := p.next()
	var err error
	if next.allow, err = appendRules(next.allow, allow, ParseRule); err != nil {
		return nil, err
	}
	if next.deny, err = appendRules(next.deny, deny, ParseDeny); err != nil {
		return nil, err
	}
	return next, nil
}

// Without returns the next version, from whose allow and deny rules the named
// ones are taken. A rule that is in neither is an error.
func (p *Policy) Without(rules ...string) (*Policy, error) {
	next := p.next()
	for _, text := range rules {
		before := len(next.allow) + len(next.deny)
		var err error
		if next.allow, err = dropRules(next.allow, text, withPorts); err != nil {
			return nil, err
		}
		if next.deny, err = dropRules(next.deny, text, ParseDeny); err != nil {
			return nil, err
		}
		if len(next.allow)+len(next.deny) == before {
			return nil, fmt.Errorf("rule %q: not in version %d of the policy", clip(text), p.version)
		}
	}
	return next, nil
}

// Allowing returns the next version with the rules among those that allow and
// not among those that deny; nil if that is so already.
func (p *Policy) Allowing(rules []string) (*Policy, error) {
	next, err := p.With(rules, nil)
	if err != nil {
		return nil, err
	}
	for _, text := range rules {
		if next.deny, err = dropRules(next.deny, text, ParseDeny); err != nil {
			return nil, err
		}
		if next.deny, err = dropRules(next.deny, text, ParseRule); err != nil {
			return nil, err
		}
	}
	return p.unless(next), nil
}

// Denying returns the next version with the rules among those that deny; nil
// if they are so already. Those that allow stay: a deny rule wins, and when it
// is removed they hold again.
func (p *Policy) Denying(rules []string) (*Policy, error) {
	next, err := p.With(nil, rules)
	if err != nil {
		return nil, err
	}
	return p.unless(next), nil
}

// unless returns nil for a next version that says the same.
func (p *Policy) unless(next *Policy) *Policy {
	same := func(a, b []Rule) bool {
		return slices.EqualFunc(a, b, func(a, b Rule) bool { return a.String() == b.String() })
	}
	if same(p.allow, next.allow) && same(p.deny, next.deny) {
		return nil
	}
	return next
}

func dropRules(have []Rule, text string, parse func(string) (Rule, error)) ([]Rule, error) {
	gone, err := expand(text, parse)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(have, func(h Rule) bool {
		return slices.ContainsFunc(gone, func(g Rule) bool { return g.String() == h.String() })
	}), nil
}

// Within returns the next version, which allows what p allows and each limit
// allows too. Its rules stay p's: a limit narrows, it never adds.
func (p *Policy) Within(limits ...*Policy) *Policy {
	next := p.next()
	next.limits = append(next.limits, limits...)
	return next
}

func (p *Policy) next() *Policy {
	return &Policy{
		version: p.version + 1,
		allow:   slices.Clone(p.allow), deny: slices.Clone(p.deny), limits: slices.Clone(p.limits),
	}
}

func appendRules(have []Rule, texts []string, parse func(string) (Rule, error)) ([]Rule, error) {
	for _, text := range texts {
		more, err := expand(text, parse)
		if err != nil {
			return nil, err
		}
		for _, r := range more {
			if !slices.ContainsFunc(have, func(h Rule) bool { return h.String() == r.String() }) {
				have = append(have, r)
			}
		}
		if len(have) > maxRules {
			return nil, fmt.Errorf("more than %d rules", maxRules)
		}
	}
	return have, nil
}

// expand turns the text of a rule, or the name of a preset, into rules.
func expand(text string, parse func(string) (Rule, error)) ([]Rule, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "@") {
		return presetRules(text)
	}
	r, err := parse(text)
	return []Rule{r}, err
}

// Decide answers for a canonical host and a port. A deny rule for a range of
// IPv4 addresses holds for each IPv6 address in which one of them stands; an allow
// rule is for addresses as it writes them.
func (p *Policy) Decide(h Host, port uint16) Decision {
	if h.IsAddr() {
		h.Addr = address.Canonical(h.Addr)
	}
	d := p.decide(h, port)
	d.Version = p.version
	return d
}

func (p *Policy) decide(h Host, port uint16) Decision {
	if r, ok := p.denied(h, port); ok {
		return Decision{Rule: r.String(), Preset: r.Preset, Reason: ReasonDeny}
	}
	r, ok := first(p.allow, h, port)
	if !ok {
		if _, named := first(p.allow, h, 0); named {
			return Decision{Reason: ReasonPort}
		}
		return Decision{Reason: ReasonNoRule}
	}
	proto := r.ProtoOf(port)
	for _, l := range p.limits {
		d := l.decide(h, port)
		if !d.Allowed {
			return Decision{Rule: r.String(), Preset: r.Preset, Reason: ReasonLimit}
		}
		proto = stricter(proto, d.Proto)
	}
	return Decision{Allowed: true, Rule: r.String(), Preset: r.Preset, Proto: proto}
}

// denied returns the deny rule that names the host with the port, in whatever
// form its address is written.
func (p *Policy) denied(h Host, port uint16) (Rule, bool) {
	if !h.IsAddr() {
		return first(p.deny, h, port)
	}
	if r, ok := first(p.deny, Host{Addr: address.Canonical(h.Addr)}, port); ok {
		return r, true
	}
	for _, a := range address.Embedded(h.Addr) {
		if r, ok := first(p.deny, Host{Addr: a}, port); ok {
			return r, true
		}
	}
	return Rule{}, false
}

// stricter lets a limit that asks for a check have it.
func stricter(own, limit Proto) Proto {
	if own == Raw {
		return limit
	}
	return own
}

// first returns the rule that names host and port; an exact name goes before
// a wildcard, a longer wildcard or range before a shorter one.
func first(rules []Rule, h Host, port uint16) (best Rule, ok bool) {
	for _, r := range rules {
		if r.matches(h, port) && (!ok || r.narrower(best)) {
			best, ok = r, true
		}
	}
	return best, ok
}

func (r Rule) narrower(than Rule) bool {
	switch {
	case r.Prefix.IsValid():
		return r.Prefix.Bits() > than.Prefix.Bits()
	case r.Wildcard != than.Wildcard:
		return than.Wildcard
	}
	return len(r.Name) > len(than.Name)
}

// Ports returns the ports at which the host may be reached; none when the
// policy does not allow it at all.
func (p *Policy) Ports(h Host) []uint16 {
	var ports []uint16
	for _, r := range p.allow {
		if !r.matches(h, 0) {
			continue
		}
		for _, port := range r.Ports {
			if !slices.Contains(ports, port) && p.decide(h, port).Allowed {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// Denies reports whether a deny rule, also one of a limit's, names the address
// with the port. It holds for addresses that an allowed name leads to as well.
func (p *Policy) Denies(addr netip.Addr, port uint16) bool {
	_, denied := p.denied(Host{Addr: addr}, port)
	return denied || slices.ContainsFunc(p.limits, func(l *Policy) bool { return l.Denies(addr, port) })
}

// Knows reports whether any port of the name may be reached, so that the name
// may be known to the sandbox.
func (p *Policy) Knows(name string) bool { return len(p.Ports(Host{Name: name})) > 0 }

// Ranges returns the address rules: what a sandbox may reach without a name.
// A limit or deny rule may still take from them, so Decide has the last word.
func (p *Policy) Ranges() []Rule {
	var out []Rule
	for _, r := range p.allow {
		if r.Prefix.IsValid() {
			out = append(out, r)
		}
	}
	return out
}

// Grants reports whether a rule names the address with the port in a way that
// admits an address that is not public. block is the special-purpose block
// that the address is in: a range reaches into it only if it lies within it,
// so 0.0.0.0/0 grants no private address.
func (p *Policy) Grants(addr netip.Addr, port uint16, block netip.Prefix) bool {
	if !p.Decide(Host{Addr: addr}, port).Allowed {
		return false
	}
	within := func(q *Policy) bool {
		return slices.ContainsFunc(q.allow, func(r Rule) bool {
			return r.matches(Host{Addr: addr}, port) && block.Contains(r.Prefix.Addr()) && r.Prefix.Bits() >= block.Bits()
		})
	}
	return within(p) && !slices.ContainsFunc(p.limits, func(l *Policy) bool { return !within(l) })
}

// ErrUnknownPreset reports a preset that there is none of.
var ErrUnknownPreset = errors.New("no such preset")
