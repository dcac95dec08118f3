// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Spec is a policy as text, as it goes from process to process.
type Spec struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
	// Limits narrow it: each must allow as well.
	Limits []Spec `json:"limits,omitempty"`
}

// Policy returns version 1 of it.
func (s Spec) Policy() (*Policy, error) {
	p, err := New(s.Allow, s.Deny)
	if err != nil {
		return nil, err
	}
	for _, l := range s.Limits {
		limit, err := l.Policy()
		if err != nil {
			return nil, fmt.Errorf("limit: %w", err)
		}
		p.limits = append(p.limits, limit)
	}
	return p, nil
}

// DefaultPreset stands for all presets that are part of the default policy.
const DefaultPreset = "@default"

// Label is the image label with an image's suggestion: rules, separated by
// spaces.
const Label = "io.cpc.egress"

// maxSuggestion bounds a label, which an image chooses.
const maxSuggestion = 16 << 10

// Sources are the places that a policy comes from, the most privileged first.
// A nil Allow is one that says nothing.
type Sources struct {
	System, User File // configuration
	Given        File // the command line
	Label        string
}

// Compose returns the policy that the sources amount to, and notes for a
// person about what has no effect.
//
//   - What may be reached is said by the command line, else by the image's
//     label, else by the user, else by the administrator, else by the presets.
//   - A label is narrowed by what would hold without it: it never adds.
//   - Every deny rule holds.
//   - A file with limit narrows all that is less privileged.
func (s Sources) Compose() (Spec, []string, error) {
	for _, f := range []File{s.System, s.User, s.Given} {
		if _, err := f.Policy(); err != nil {
			return Spec{}, nil, err
		}
	}
	base := firstSaid(s.User, s.System)
	out := Spec{Allow: base, Deny: slices.Concat(s.System.Deny, s.User.Deny, s.Given.Deny)}
	var notes []string
	switch {
	case s.Given.Allow != nil:
		out.Allow = s.Given.Allow
	case strings.TrimSpace(s.Label) != "":
		rules, err := labelRules(s.Label)
		if err != nil {
			notes = append(notes, fmt.Sprintf("the image's label %s is ignored: %v", Label, err))
			break
		}
		out.Allow = rules
		out.Limits = append(out.Limits, Spec{Allow: base})
	}
	if s.User.Limit {
		out.Limits = append(out.Limits, Spec{Allow: firstSaid(s.User), Deny: s.User.Deny})
	}
	if s.System.Limit {
		out.Limits = append(out.Limits, Spec{Allow: firstSaid(s.System), Deny: s.System.Deny})
	}
	p, err := out.Policy()
	if err != nil {
		return Spec{}, nil, err
	}
	notes = append(notes, Advice(s.Given.Allow)...)
	for _, r := range p.allow {
		if by, ok := p.shadow(r); ok && r.Preset == "" {
			notes = append(notes, fmt.Sprintf("%s has no effect: the deny rule %s wins", r, by))
		}
	}
	for _, r := range p.Ineffective() {
		notes = append(notes, fmt.Sprintf("%s has no effect: the host's policy does not allow it", r))
	}
	return out, notes, nil
}

func firstSaid(files ...File) []string {
	for _, f := range files {
		if f.Allow != nil {
			return f.Allow
		}
	}
	return []string{DefaultPreset}
}

func labelRules(label string) ([]string, error) {
	if len(label) > maxSuggestion {
		return nil, fmt.Errorf("longer than %d bytes", maxSuggestion)
	}
	rules := strings.Fields(label)
	_, err := New(rules, nil)
	return rules, err
}

// shadow returns a deny rule that takes all that an allow rule names.
func (p *Policy) shadow(r Rule) (Rule, bool) {
	for _, d := range p.deny {
		host := d.Name != "" && (d.Name == r.Name && d.Wildcard == r.Wildcard || d.Wildcard && strings.HasSuffix(r.Name, "."+d.Name)) ||
			d.Prefix.IsValid() && r.Prefix.IsValid() && d.Prefix.Bits() <= r.Prefix.Bits() && d.Prefix.Contains(r.Prefix.Addr())
		ports := len(d.Ports) == 0 || !slices.ContainsFunc(r.Ports, func(port uint16) bool { return !slices.Contains(d.Ports, port) })
		if host && ports {
			return d, true
		}
	}
	return Rule{}, false
}

// Ineffective returns the allow rules of which the policy's limits leave
// nothing. Of a range or wildcard that cannot be said, so it is not among them
// unless no limit has a rule that could overlap.
func (p *Policy) Ineffective() []Rule {
	var out []Rule
	for _, r := range p.allow {
		if r.Wildcard || r.Prefix.IsValid() && !r.Prefix.IsSingleIP() {
			continue
		}
		h := Host{Name: r.Name}
		if r.Prefix.IsValid() {
			h = Host{Addr: r.Prefix.Addr()}
		}
		refused := func(port uint16) bool { return !p.decide(h, port).Allowed && p.decide(h, port).Reason == ReasonLimit }
		if len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(port uint16) bool { return !refused(port) }) {
			out = append(out, r)
		}
	}
	return out
}
