// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// Egress is what a command line and config.toml say about where a network leads. Policy
// puts that together with what an image suggests. What a person should know of it is
// collected: see Notes.
type Egress struct {
	Rules, Files []string // of --egress and --egress-file
	Config       config.Config
	Build        bool // for RUN steps, which have rules of their own
	Learn        bool // what is denied is learnt

	read  *policy.File // what Given has read, once
	notes []string
}

// Note adds to what a person should know.
func (e *Egress) Note(what string) { e.notes = append(e.notes, what) }

// Notes returns what a person should know, each thing once.
func (e *Egress) Notes() []string {
	slices.Sort(e.notes)
	return slices.Compact(e.notes)
}

// Given returns the rules of the command line. A file is read once: what was
// checked is what counts, and a pipe has nothing more to read.
func (e *Egress) Given() (policy.File, error) {
	if e.read != nil {
		return *e.read, nil
	}
	all := policy.File{Allow: e.Rules}
	if _, err := policy.New(e.Rules, nil); err != nil {
		return all, fmt.Errorf("--egress: %w", err)
	}
	for _, path := range e.Files {
		file, err := readFile(path)
		if err != nil {
			return all, fmt.Errorf("--egress-file: %w", err)
		}
		if file.Allow != nil && all.Allow == nil {
			all.Allow = []string{}
		}
		all.Allow, all.Deny = append(all.Allow, file.Allow...), append(all.Deny, file.Deny...)
	}
	if all.Allow == nil && len(all.Deny) > 0 {
		e.notes = append(e.notes, "--egress-file denies and allows nothing of its own: what is let out to otherwise stays as it is without it")
	}
	e.read = &all
	return all, nil
}

func readFile(path string) (policy.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return policy.File{}, err
	}
	defer file.Close()
	f, err := policy.ReadFile(file)
	if err == nil && f.Limit {
		err = errors.New("limit is for config.toml")
	}
	if err != nil {
		return policy.File{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Policy puts together what may be reached. label is the image's suggestion.
func (e *Egress) Policy(label string) (policy.Spec, error) {
	given, err := e.Given()
	if err != nil {
		return policy.Spec{}, err
	}
	s := policy.Sources{Given: given, Label: label}
	for _, c := range []struct {
		from config.File
		into *policy.File
	}{{e.Config.System, &s.System}, {e.Config.User, &s.User}} {
		r := c.from.Egress
		if b := c.from.Build.Egress; e.Build {
			r.Deny = slices.Concat(r.Deny, b.Deny)
			if b.Allow != nil {
				r.Allow = b.Allow
			}
		}
		*c.into = policy.File{Allow: r.Allow, Deny: r.Deny, Limit: r.Limit}
		if _, err := c.into.Policy(); err != nil {
			return policy.Spec{}, fmt.Errorf("configuration %s: %w", c.from.Path, err)
		}
		if r.ImageLabel == config.LabelIgnore {
			s.Label = ""
		}
	}
	if e.Learn && s.Given.Allow == nil { // what is denied is learnt
		s.Given.Allow = []string{}
	}
	spec, notes, err := s.Compose()
	e.notes = append(e.notes, notes...)
	return spec, err
}

// NoteHosts tells of hosts of --add-host that no rule lets out to: what they name
// is reached by its address.
func (e *Egress) NoteHosts(o Options) {
	p, err := o.Policy.Policy()
	if err != nil {
		return // it is an error already
	}
	for _, h := range o.Hosts {
		if !h.Addr.IsLoopback() && !h.Addr.IsUnspecified() && len(p.Ports(policy.Host{Addr: h.Addr})) == 0 {
			e.notes = append(e.notes, fmt.Sprintf("--add-host %s:%s: no rule lets out to that address; to reach it: --egress %s", h.Name, h.Addr, policy.RuleFor(h.Addr.String(), 443)))
		}
	}
}

// Asked returns the flags that say what the policy lets out to: those that were
// given, or else as many as it takes to say what holds without them.
func (e *Egress) Asked(spec policy.Spec) []string {
	var out []string
	for _, file := range e.Files {
		out = append(out, "--egress-file "+quoted(file))
	}
	rules := e.Rules
	if e.read == nil || e.read.Allow == nil {
		rules = spec.Allow
	}
	if len(rules) > maxAsked {
		rules = []string{policy.DefaultPreset}
		out = append(out, "--egress …")
	}
	for _, r := range rules {
		out = append(out, "--egress "+quoted(r))
	}
	return out
}

// maxAsked bounds the rules in a hint.
const maxAsked = 12

// quoted writes a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("@._-/:,+%=[]", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
