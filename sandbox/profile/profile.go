// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package profile knows the profiles of cpc run: named sets of defaults, by the names of
// its flags. A profile is data: two are built in (profiles.toml), and config.toml can
// have more. What a value means is the flag's to say.
//
// A profile stands between the command line and the rest of config.toml: a flag that was
// given wins over it, and it wins over what the files and cpc itself have as a default.
// The administrator can name one as the minimum, see [Set.Minimum].
package profile

import (
	_ "embed" // for the profiles that are built in
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

//go:embed profiles.toml
var shippedText string

const (
	// Default is the profile that holds where none is named.
	Default = "sandbox"
	// BuiltIn is where the profiles come from that cpc has.
	BuiltIn = "cpc"
	// RootCapAdd is the key of capabilities for a program that is root in the sandbox,
	// where the root file system can be written.
	RootCapAdd = "root.cap-add"
)

// Keys are what a profile can say, in the order in which it is shown. A list replaces
// that of the base; what the command line adds comes after it.
func Keys() []string {
	return []string{
		"memory", "memory-swap", "memory-reservation", "memory-high", "oom", "cpus", "cpu-shares", "pids-limit", "limits",
		"shm-size", "ulimit", "read-only", "disk", "tmpfs", "network", "sysctl", "host-ca", "proxy",
		"security-opt", "cap-add", "cap-drop", RootCapAdd, "init", "stop-timeout",
	}
}

// isList reports whether the value of a key is a list of strings.
func isList(key string) bool {
	return slices.Contains([]string{"ulimit", "tmpfs", "sysctl", "security-opt", "cap-add", "cap-drop", RootCapAdd}, key)
}

// Profile is a set of defaults, its base's among them.
type Profile struct {
	Name    string
	Summary string
	From    string // BuiltIn, or the path of a file
	// Settings are the values of flags, by name: one, or a list.
	Settings map[string][]string
}

// TOML returns the profile as config.toml can have it.
func (p Profile) TOML() string {
	var b, root strings.Builder
	fmt.Fprintf(&b, "[profiles.%s]\n", p.Name)
	if p.Summary != "" {
		fmt.Fprintf(&b, "summary = %q\n", p.Summary)
	}
	for _, key := range Keys() {
		values, said := p.Settings[key]
		switch {
		case !said:
		case key == RootCapAdd:
			fmt.Fprintf(&root, "[profiles.%s.root]\ncap-add = [%s]\n", p.Name, quoted(values))
		case isList(key):
			fmt.Fprintf(&b, "%s = [%s]\n", key, quoted(values))
		default:
			fmt.Fprintf(&b, "%s = %s\n", key, plain(values[0]))
		}
	}
	return b.String() + root.String()
}

// plain is a value as TOML has it: a number and a switch without quotation marks.
func plain(v string) string {
	if _, err := strconv.ParseFloat(v, 64); err == nil || v == "true" || v == "false" {
		return v
	}
	return strconv.Quote(v)
}

func quoted(values []string) string {
	var all []string
	for _, v := range values {
		all = append(all, strconv.Quote(v))
	}
	return strings.Join(all, ", ")
}

// Set is all profiles, and which of them are to be used.
type Set struct {
	all     map[string]Profile
	own     map[string]Profile // without the user's
	config  config.Config
	minimum string
}

// New returns the profiles of cpc and of config.toml.
func New(c config.Config) (Set, error) {
	var shipped map[string]config.Profile
	if _, err := toml.Decode(shippedText, &shipped); err != nil {
		return Set{}, fmt.Errorf("built-in profiles: %w", err)
	}
	s := Set{all: map[string]Profile{}, config: c, minimum: c.System.Minimum}
	if err := s.add(shipped, BuiltIn); err != nil {
		return Set{}, err
	}
	if err := s.add(c.System.Profiles, c.System.Path); err != nil {
		return Set{}, err
	}
	s.own = maps.Clone(s.all)
	if err := s.add(c.User.Profiles, c.User.Path); err != nil {
		return Set{}, err
	}
	if _, known := s.own[s.minimum]; s.minimum != "" && !known {
		return Set{}, fmt.Errorf("configuration %s: minimum: %w", c.System.Path, s.unknown(s.minimum))
	}
	return s, nil
}

// add adds the profiles of one place. Those of cpc cannot be replaced: what their
// names stand for is documented.
func (s *Set) add(given map[string]config.Profile, from string) error {
	known := maps.Clone(s.all)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if p, taken := known[name]; taken && p.From == BuiltIn {
			return fmt.Errorf("configuration %s: profile %s: cpc has one of this name: choose another, with base = %q", from, name, name)
		}
		p, err := s.resolve(name, given, known, nil)
		if err != nil {
			if from != BuiltIn {
				from = "configuration " + from
			}
			return fmt.Errorf("%s: %w", from, err)
		}
		p.From = from
		s.all[name] = p
	}
	return nil
}

// resolve puts a profile and its base together. Where a base is looked for is first the
// same place, and then what is known from elsewhere.
func (s *Set) resolve(name string, given map[string]config.Profile, known map[string]Profile, above []string) (Profile, error) {
	if slices.Contains(above, name) {
		return Profile{}, fmt.Errorf("profile %s: is its own base", name)
	}
	raw, here := given[name]
	if !here {
		p, ok := known[name]
		if !ok {
			return Profile{}, s.unknown(name)
		}
		return p, nil
	}
	p := Profile{Name: name, Settings: map[string][]string{}}
	own, base, err := settings(raw)
	if err != nil {
		return p, fmt.Errorf("profile %s: %w", name, err)
	}
	if base != "" {
		under, err := s.resolve(base, given, known, append(above, name))
		if err != nil {
			return p, fmt.Errorf("profile %s: base: %w", name, err)
		}
		p.Settings = maps.Clone(under.Settings)
	}
	p.Summary, _ = raw["summary"].(string)
	maps.Copy(p.Settings, own)
	return p, nil
}

// settings reads what a file says of one profile.
func settings(raw config.Profile) (own map[string][]string, base string, err error) {
	own = map[string][]string{}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		v := raw[key]
		switch key {
		case "summary", "base":
			text, ok := v.(string)
			if !ok {
				return nil, "", fmt.Errorf("%s: not a string", key)
			}
			if key == "base" {
				base = text
			}
			continue
		case "root":
			table, ok := v.(map[string]any)
			if !ok || len(table) != 1 || table["cap-add"] == nil {
				return nil, "", errors.New("root: a table with the key cap-add and no other")
			}
			key, v = RootCapAdd, table["cap-add"]
		}
		if !slices.Contains(Keys(), key) || strings.Contains(key, ".") && raw[key] != nil {
			if near := dockerflag.Nearest(key, Keys()); near != "" {
				return nil, "", fmt.Errorf("unknown key %s: did you mean %s?", key, near)
			}
			return nil, "", fmt.Errorf("unknown key %s (known: %s)", key, strings.Join(Keys(), ", "))
		}
		if own[key], err = words(v, isList(key)); err != nil {
			return nil, "", fmt.Errorf("%s: %w", key, err)
		}
	}
	return own, base, nil
}

// words are a value as the command line would have it.
func words(v any, list bool) ([]string, error) {
	if many, ok := v.([]any); ok || list {
		if !ok || !list {
			return nil, fmt.Errorf("%v: must be a %s", v, map[bool]string{true: "list of strings", false: "single value"}[list])
		}
		out := make([]string, 0, len(many))
		for _, m := range many {
			text, ok := m.(string)
			if !ok {
				return nil, fmt.Errorf("%v: not a string", m)
			}
			out = append(out, text)
		}
		return out, nil
	}
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case bool:
		return []string{strconv.FormatBool(v)}, nil
	case int64:
		return []string{strconv.FormatInt(v, 10)}, nil
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}, nil
	}
	return nil, fmt.Errorf("%v: a string, a number, true or false", v)
}

// All returns the profiles: cpc's, and then the others by name.
func (s Set) All() []Profile {
	return slices.SortedFunc(maps.Values(s.all), func(a, b Profile) int {
		if foreign := func(p Profile) bool { return p.From != BuiltIn }; foreign(a) != foreign(b) {
			return map[bool]int{true: 1, false: -1}[foreign(a)]
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// Choose returns the profile to use: the one that the command line names, or the user's
// file, or the administrator's file, or the minimum, or else the default.
func (s Set) Choose(named string) (Profile, error) {
	for _, c := range []struct{ name, from string }{
		{named, "--profile"},
		{s.config.User.Profile, s.config.User.Path + ": profile"},
		{s.config.System.Profile, s.config.System.Path + ": profile"},
		{s.minimum, ""},
		{Default, ""},
	} {
		if c.name == "" {
			continue
		}
		p, ok := s.all[c.name]
		if !ok {
			return p, fmt.Errorf("%s: %w", c.from, s.unknown(c.name))
		}
		return p, nil
	}
	return Profile{}, s.unknown(Default)
}

// Minimum returns the profile that nothing may be weaker than, which the administrator's
// file names; false without one. No other file can change what it says.
func (s Set) Minimum() (Profile, bool) {
	p, ok := s.own[s.minimum]
	return p, ok
}

func (s Set) unknown(name string) error {
	names := slices.Sorted(maps.Keys(s.all))
	return fmt.Errorf("no profile %q: there are %s", name, strings.Join(names, ", "))
}
