// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // for the presets
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

//go:embed presets.toml
var presetText string

// Preset is a named set of rules.
type Preset struct {
	Name  string   `json:"name"`  // with its "@"
	About string   `json:"about"` // a line
	Hosts []string `json:"hosts"` // rules
	// Source is where the hosts are documented.
	Source string `json:"source"`
	// Default: the preset is part of the policy of who says nothing.
	Default bool `json:"default"`
}

// Presets returns all presets, in order of name.
func Presets() []Preset {
	var file map[string]Preset
	meta, err := toml.Decode(presetText, &file)
	if err != nil {
		panic("policy: presets.toml: " + err.Error())
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		panic(fmt.Sprintf("policy: presets.toml: unknown keys %v", extra))
	}
	out := make([]Preset, 0, len(file))
	for name, p := range file {
		p.Name = "@" + name
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Default returns version 1 of the policy of who says nothing: package
// repositories and documentation.
func Default() *Policy {
	p, err := New([]string{DefaultPreset}, nil)
	if err != nil {
		panic("policy: presets.toml: " + err.Error())
	}
	return p
}

func presetRules(name string) ([]Rule, error) {
	all := Presets()
	if name == DefaultPreset {
		var rules []Rule
		for _, p := range all {
			if !p.Default {
				continue
			}
			more, err := p.rules()
			if err != nil {
				return nil, err
			}
			rules = append(rules, more...)
		}
		return rules, nil
	}
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		known := []string{DefaultPreset}
		for _, p := range all {
			known = append(known, p.Name)
		}
		return nil, fmt.Errorf("preset %q: %w: there are %s", clip(name), ErrUnknownPreset, strings.Join(known, " "))
	}
	return all[i].rules()
}

func (p Preset) rules() ([]Rule, error) {
	rules := make([]Rule, 0, len(p.Hosts))
	for _, text := range p.Hosts {
		r, err := ParseRule(text)
		if err != nil {
			return nil, fmt.Errorf("preset %s: %w", p.Name, err)
		}
		r.Preset = p.Name
		rules = append(rules, r)
	}
	return rules, nil
}
