// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Refusal is one thing that a network did not let a program reach.
type Refusal struct {
	Host   string `json:"host"` // as the program named it
	Port   uint16 `json:"port,omitempty"`
	Reason string `json:"reason"`
	// Rule is what decided, if a rule did.
	Rule string `json:"rule,omitempty"`
	// Failed: it was let out to, and could not be reached.
	Failed bool `json:"failed,omitempty"`
}

// String words it, in names that a program chose.
func (r Refusal) String() string {
	what := r.Host
	if r.Port != 0 {
		what = fmt.Sprintf("%s port %d", what, r.Port)
	}
	return fmt.Sprintf("%s: %s", what, r.Reason)
}

// Refusals collects what a network did not let reach, for the person who
// wonders why a program failed. It is safe for concurrent use; the zero value is
// ready.
type Refusals struct {
	mu   sync.Mutex // guards what follows
	seen []Refusal  // distinct, at most maxRefused
	more bool
}

// maxRefused is how much of what was refused a person is told.
const maxRefused = 8

// Note takes an event down if it is of interest. What a program tries beside the
// connection that it wants, such as SRV records, is left out.
func (r *Refusals) Note(e event.Event) {
	asks := e.Kind == event.DNS && (e.Query == "A" || e.Query == "AAAA")
	if e.Verdict != event.Denied && e.Verdict != event.Failed || !asks && e.Kind != event.Connect && e.Kind != event.Packet || e.Count > 1 {
		return
	}
	what := Refusal{Host: e.Name, Port: e.Port, Reason: e.Reason, Rule: e.Rule, Failed: e.Verdict == event.Failed}
	if what.Host == "" && e.Addr.IsValid() {
		what.Host = e.Addr.String()
	}
	if what.Host == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case slices.Contains(r.seen, what):
	case len(r.seen) == maxRefused:
		r.more = true
	default:
		r.seen = append(r.seen, what)
	}
}

// List returns what was refused; one without a host stands for others.
func (r *Refusals) List() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.seen)
	if r.more {
		all = append(all, Refusal{})
	}
	return all
}

// mend returns the rule that would have let a program out, or else what a person
// can do about it; both are empty where nobody can tell.
func (r Refusal) mend() (rule, advice string) {
	h, err := policy.ParseHost(r.Host)
	switch {
	case err != nil, r.Failed, r.Host == "":
		return "", ""
	case strings.HasPrefix(r.Reason, "only TCP"):
		return "", "Only TCP leaves a sandbox: no rule lets out ping, QUIC or NTP."
	case r.Reason == policy.ReasonLimit:
		return "", fmt.Sprintf("A limit in config.toml keeps %s from being reached, whatever --egress says.", h)
	case strings.Contains(r.Reason, policy.ReasonDeny):
		return "", fmt.Sprintf("A deny rule wins over each --egress: take %s out of config.toml or the --egress-file.", orThe(r.Rule, "the one that names "+h.String()))
	case strings.HasSuffix(r.Reason, "no rule grants it"):
		return grant(r), ""
	case slices.Contains([]string{"not TLS", "no server name in the ClientHello", "not HTTP/1.0 or HTTP/1.1"}, r.Reason):
		return policy.RuleFor(r.Host, r.Port) + "/raw", ""
	case !slices.Contains([]string{policy.ReasonNoRule, policy.ReasonPort, "not an address of an allowed name"}, r.Reason):
		return "", ""
	case h.IsAddr() && (h.Addr.IsLoopback() || h.Addr.IsUnspecified()):
		return "", ""
	}
	if preset := policy.PresetFor(h, r.Port); preset != "" {
		return preset, ""
	}
	return policy.RuleFor(r.Host, r.Port), ""
}

func orThe(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// grant is the rule for the address that the gateway found not to be public.
func grant(r Refusal) string {
	_, rest, _ := strings.Cut(r.Reason, "address ")
	text, _, _ := strings.Cut(rest, " ")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return policy.RuleFor(a.String(), r.Port)
}

// Hint is what the person who started a program needs to have it let out.
type Hint struct {
	// Who could not reach it, such as "the sandbox".
	Who string
	// Command that they typed, such as "cpc run", and the rules that it had, as
	// flags: a rule more does not take those away.
	Command string
	Asked   []string
	// Adds: the command takes the rules themselves, and adds them to those in force,
	// as cpc net allow does.
	Adds bool
}

// flags are the words that let out to a rule.
func (h Hint) flags(rule string) string {
	if h.Adds {
		return rule
	}
	return "--egress " + rule
}

// TellRefusals says what was refused to a program, since that is likely why it
// failed, and what lets it out. What no rule keeps from being reached, such as a name that
// does not resolve, is told apart: nobody refused it.
func TellRefusals(w io.Writer, refused []Refusal, hint Hint) {
	if len(refused) == 0 {
		return
	}
	var b strings.Builder
	var rules, advice []string
	for _, failed := range []bool{false, true} {
		begun := false
		for _, r := range refused {
			if r.Failed != failed {
				continue
			}
			if !begun {
				b.WriteString(map[bool]string{
					false: "cpc: the network did not let " + hint.Who + " reach:\n",
					true:  "cpc: allowed, but could not be reached by " + hint.Who + ":\n",
				}[failed])
				begun = true
			}
			if r.Host == "" {
				b.WriteString("  and others\n")
				continue
			}
			b.WriteString("  " + visible.Line(r.String()) + "\n")
			rule, word := r.mend()
			if rule != "" && !slices.Contains(rules, rule) {
				rules = append(rules, rule)
			}
			if word != "" && !slices.Contains(advice, word) {
				advice = append(advice, word)
			}
		}
	}
	for _, a := range advice {
		b.WriteString(visible.Line(a) + "\n")
	}
	hint.tellRules(&b, rules)
	_, _ = io.WriteString(w, b.String())
}

// tellRules says the command that lets out to more, if any rule does.
func (h Hint) tellRules(b *strings.Builder, rules []string) {
	if len(rules) == 0 {
		return
	}
	command := append([]string{h.Command}, h.Asked...)
	for _, r := range rules {
		if !slices.Contains(h.Asked, h.flags(r)) {
			command = append(command, h.flags(r))
		}
	}
	fmt.Fprintf(b, "To let it out to more hosts: %s\n", visible.Line(strings.Join(command, " ")))
}
