// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

// rule is one rule of the packet filter: as text, and as what the kernel runs.
type rule struct {
	text string
	code code
}

// chain is a chain of the packet filter; a base chain has a hook.
type chain struct {
	name string
	hook *hook
	// rules are fixed, but for those of the chain of ranges.
	rules []rule
}

type hook struct {
	kind     string // filter or nat
	at       string // prerouting, input, forward, output
	priority int
	drop     bool // the policy; else accept
}

// ruleset is the whole packet filter of R.
type ruleset struct {
	sets   []string
	chains []chain
}

const (
	tableName  = "cpc"
	chainRange = "ranges"
	chainDeny  = "deny"
	chainGuard = "guard"
	chainHold  = "hold"
	chainHeld  = "held"

	setNames4, setNames6     = "names4", "names6"
	setRefused4, setRefused6 = "refused4", "refused6"
	setUnreach4, setUnreach6 = "unreachable4", "unreachable6"
	setKnown4, setKnown6     = "known4", "known6"
)

// ruleset returns the packet filter. What a chain does not accept, its policy
// or the chain of denials drops: in, out and through.
func (p Plan) ruleset() ruleset {
	r := ruleset{
		sets: []string{setNames4, setRefused4, setUnreach4, setKnown4},
		chains: []chain{
			{name: chainDeny, rules: p.denyRules()},
			{name: chainRange},
			{name: chainHeld, rules: []rule{join(rateLimit(1000, 1000), nflog(p.Group+1)), drop()}},
			{name: chainHold},
			// Before connection tracking: only the sandbox's own addresses.
			{name: chainGuard, hook: &hook{"filter", "prerouting", -300, true}},
			// Hosts that were just found out to be down, as they are, and those of
			// which nothing is known to the gateway first.
			{name: "fate", hook: &hook{"filter", "prerouting", -150, false}, rules: p.fateRules()},
			{name: "redirect", hook: &hook{"nat", "prerouting", -100, false}, rules: p.redirectRules()},
			// After the redirection: what is not for R is for nobody.
			{name: "local", hook: &hook{"filter", "prerouting", -50, true}},
			{name: "in", hook: &hook{"filter", "input", 0, true}, rules: p.inputRules()},
			{name: "through", hook: &hook{"filter", "forward", 0, true}},
			{name: "out", hook: &hook{"filter", "output", 0, true}, rules: p.outputRules()},
		},
	}
	if p.Gateway.V6.IsValid() {
		r.sets = append(r.sets, setNames6, setRefused6, setUnreach6, setKnown6)
	}
	guard, local := r.chain(chainGuard), r.chain("local")
	for _, f := range p.families() {
		guard.rules = append(guard.rules, join(iif(p.Gateway.Name), source(f[1].Addr()), accept()))
		local.rules = append(local.rules, join(destination(f[0].Addr()), accept()))
	}
	// From another source: forged, or the chatter of an interface that comes
	// up. Nobody is there to be told.
	guard.rules = append(guard.rules, counter())
	local.rules = append(local.rules, goTo(chainDeny))
	return r
}

func (r *ruleset) chain(name string) *chain {
	for i := range r.chains {
		if r.chains[i].name == name {
			return &r.chains[i]
		}
	}
	panic("netns: no chain " + name)
}

func (p Plan) denyRules() []rule {
	return []rule{
		join(rateLimit(20, 50), nflog(p.Group)),
		counter(),
		join(tcp(), rejectReset()),
		rejectProhibited(),
	}
}

func (p Plan) fateRules() []rule {
	out := []rule{join(state("established"), accept())}
	for _, f := range p.families() {
		refused, unreachable, known := setRefused4, setUnreach4, setKnown4
		if f[0].Addr().Is6() {
			refused, unreachable, known = setRefused6, setUnreach6, setKnown6
		}
		out = append(out,
			join(state("new"), tcp(), inSet(f[0].Addr(), refused), rejectReset()),
			join(state("new"), tcp(), inSet(f[0].Addr(), unreachable), rejectHost()),
			join(tcp(), inSet(f[0].Addr(), known), accept()))
	}
	return append(out, jump(chainHold))
}

// holdRules are those by which the first packet of an allowed connection is held
// back.
func (p Plan) holdRules(pol *policy.Policy) (out []rule) {
	for _, f := range p.families() {
		set := setNames4
		if f[0].Addr().Is6() {
			set = setNames6
		}
		out = append(out, join(state("new"), tcp(), isSYN(), inSet(f[0].Addr(), set), goTo(chainHeld)))
	}
	for _, r := range p.ranges(pol) {
		out = append(out, join(state("new"), tcp(), isSYN(), destinationIn(r.prefix), dport(r.port), goTo(chainHeld)))
	}
	return out
}

func (p Plan) redirectRules() (out []rule) {
	for _, f := range p.families() {
		out = append(out, join(destination(f[0].Addr()), accept())) // R's own ports
	}
	for _, f := range p.families() {
		set := setNames4
		if f[0].Addr().Is6() {
			set = setNames6
		}
		out = append(out, join(tcp(), inSet(f[0].Addr(), set), dnat(f[0].Addr(), p.Port)))
	}
	out = append(out, jump(chainRange))
	if p.Learn {
		for _, f := range p.families() {
			to := f[0].Addr()
			out = append(out, join(tcp(), destinationIn(netip.PrefixFrom(zero(to), 0)), dnat(to, p.Port)))
		}
	}
	return out
}

func zero(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// redirectRange is the rule of an address range and a port.
func (p Plan) redirectRange(prefix netip.Prefix, port uint16) rule {
	to := p.Gateway.V4.Addr()
	if prefix.Addr().Is6() {
		to = p.Gateway.V6.Addr()
	}
	return join(tcp(), destinationIn(prefix), dport(port), dnat(to, p.Port))
}

func (p Plan) inputRules() []rule {
	return []rule{
		join(state("established"), accept()),
		// What is accepted from here on takes memory of the kernel's that nobody
		// is charged for, until connection tracking forgets it (see settle).
		join(state("new"), above(5000, 10000), goTo(chainDeny)),
		// Only what was redirected reaches the gateway's port.
		join(tcp(), dport(p.Port), state("new"), wasRedirected(), accept()),
		join(udp(), dport(dnsPort), accept()),
		join(tcp(), dport(dnsPort), accept()),
		goTo(chainDeny),
	}
}

func (p Plan) outputRules() []rule {
	rules := []rule{
		join(oif(p.Gateway.Name), state("established"), accept()),
		join(oif(p.Gateway.Name), state("related"), accept()),
		// Rejections of what connection tracking has not taken on.
		join(oif(p.Gateway.Name), tcp(), isReset(), accept()),
		join(oif(p.Gateway.Name), icmpUnreachable(false), accept()),
	}
	if p.Gateway.V6.IsValid() {
		rules = append(rules, join(oif(p.Gateway.Name), icmpUnreachable(true), accept()))
	}
	return rules
}

// join makes one rule of parts.
func join(parts ...rule) rule {
	var out rule
	var texts []string
	for _, p := range parts {
		texts = append(texts, p.text)
		out.code = append(out.code, p.code...)
	}
	out.text = strings.Join(texts, " ")
	return out
}

// String prints the ruleset in the language of nft(8).
func (r ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", tableName)
	for _, s := range r.sets {
		family, flags := "ipv4_addr", ""
		if strings.HasSuffix(s, "6") {
			family = "ipv6_addr"
		}
		if timed(s) {
			flags = "; flags timeout"
		}
		fmt.Fprintf(&b, "\tset %s { type %s . inet_service%s; }\n", s, family, flags)
	}
	for _, c := range r.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != nil {
			verdict := "accept"
			if c.hook.drop {
				verdict = "drop"
			}
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy %s;\n", c.hook.kind, c.hook.at, c.hook.priority, verdict)
		}
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rule.text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// timed reports whether the elements of a set expire.
func timed(set string) bool { return set != setNames4 && set != setNames6 }
