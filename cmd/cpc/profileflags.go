// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/profile"
)

// profileFlags are the values of flags that a profile gives where the command line does
// not.
type profileFlags struct {
	name   string              // of --profile
	chosen profile.Profile     // the one that holds
	values map[string][]string // of chosen, those that hold
}

func (p *profileFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&p.name, "profile", "", "`NAME` of the set of defaults: sandbox, work, or one of config.toml; cpc profile ls lists them (default: that of config.toml, or sandbox)")
}

// useProfile chooses the profile and gives the flags its values.
func (f *runFlags) useProfile(fs *pflag.FlagSet) error {
	set, err := profile.New(f.net.egress.Config)
	if err != nil {
		return err
	}
	p, err := set.Choose(f.profile.name)
	if err != nil {
		return err
	}
	if p.From != profile.BuiltIn {
		if _, err := optionsOf(p); err != nil { // else it would be said of the command line
			return err
		}
	}
	return f.use(fs, p)
}

// use gives flags that were not given the values of a profile. Lists stay apart: what was
// given comes after the profile's.
func (f *runFlags) use(fs *pflag.FlagSet, p profile.Profile) error {
	f.profile.chosen, f.profile.values = p, map[string][]string{}
	for _, key := range profile.Keys() {
		values, said := p.Settings[key]
		flag := fs.Lookup(key)
		switch {
		case !said:
			continue
		case flag == nil || flag.Value.Type() == "stringArray": // a list
			f.profile.values[key] = values
			continue
		case fs.Changed(key),
			key == "cpus" && fs.Changed("cpu-quota"),
			key == "disk" && fs.Changed("storage-opt"),
			key == "limits" && os.Getenv("CPC_LIMITS") != "",
			key == "network" && fs.Changed("net"):
			continue
		}
		if err := flag.Value.Set(values[0]); err != nil {
			return fmt.Errorf("profile %s: %s %q: %w", p.Name, key, values[0], err)
		}
		f.profile.values[key] = values
	}
	return nil
}

// said returns what reports whether the command line or the profile has a flag.
func (f *runFlags) said(fs *pflag.FlagSet) func(string) bool {
	return func(name string) bool { return fs.Changed(name) || f.profile.values[name] != nil }
}

// optionsOf are the options of a sandbox with a profile and no flags.
func optionsOf(p profile.Profile) (bundle.Options, error) {
	f, fs := &runFlags{}, pflag.NewFlagSet("profile", pflag.ContinueOnError)
	f.register(fs)
	req := sandbox.RunRequest{}
	err := f.use(fs, p)
	if err == nil {
		err = f.options(fs, &req)
	}
	if err != nil {
		return bundle.Options{}, fmt.Errorf("profile %s (%s): %w", p.Name, p.From, err)
	}
	return req.Options, nil
}

// heldBack refuses what is weaker than the administrator's minimum.
func heldBack(c config.Config, weaker func(bundle.Options) ([]string, error), bestEffort bool) error {
	if c.System.Minimum == "" {
		return nil
	}
	set, err := profile.New(c) // fails where there is no profile of that name
	if err != nil {
		return err
	}
	least, _ := set.Minimum()
	options, err := optionsOf(least)
	if err != nil {
		return fmt.Errorf("minimum: %w", err)
	}
	what, err := weaker(options)
	if err != nil {
		return err
	}
	if bestEffort && !slices.Equal(least.Settings["limits"], []string{limitsBestEffort}) {
		what = append(what, "--limits "+limitsBestEffort)
	}
	if len(what) == 0 {
		return nil
	}
	return hint.With(fmt.Errorf("weaker than the administrator's minimum, the profile %s: %s", least.Name, strings.Join(what, "; ")),
		"The minimum is set in "+c.System.Path+". See it with: cpc profile show "+least.Name)
}

// withinMinimum refuses limits that are above those of the administrator's minimum.
func (a *app) withinMinimum(l cgroups.Limits) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	return heldBack(c, func(least bundle.Options) ([]string, error) { return bundle.WeakerLimits(l, least.Limits), nil }, false)
}

// profileUlimits are the resource limits of the profile, no higher than those of this
// process allow.
func (f *runFlags) profileUlimits() ([]specs.POSIXRlimit, error) {
	limits, err := parseUlimits(f.profile.values["ulimit"])
	for i := range limits {
		l := &limits[i]
		var own unix.Rlimit
		if err := unix.Getrlimit(dockerflag.Rlimits()[l.Type], &own); err != nil {
			return nil, fmt.Errorf("read limit %s: %w", l.Type, err)
		}
		l.Hard = min(l.Hard, own.Max)
		l.Soft = min(l.Soft, l.Hard)
	}
	return limits, err
}

// profileSecurity are the security options of the profile that the command line says
// nothing of.
func (f *runFlags) profileSecurity() (out []string) {
	key := func(s string) string {
		return strings.FieldsFunc(s+"=", func(r rune) bool { return r == '=' || r == ':' })[0]
	}
	for _, o := range f.profile.values["security-opt"] {
		if !slices.ContainsFunc(f.securityOpts, func(given string) bool { return given != "" && key(given) == key(o) }) {
			out = append(out, o)
		}
	}
	return out
}

// profileCaps puts the capabilities of the profile among those that a sandbox has of
// itself, so that --cap-drop takes them away, too.
func (f *runFlags) profileCaps(o *bundle.Options) (err error) {
	add, drop := f.profile.values["cap-add"], f.profile.values["cap-drop"]
	if o.CapBase, err = dockerflag.CapSet(o.CapBase, add, drop); err != nil {
		return err
	}
	o.CapRoot, err = dockerflag.CapSet(nil, f.profile.values[profile.RootCapAdd], nil)
	return err
}

// parseSysctls makes sense of the one kernel parameter that can be set.
func parseSysctls(given []string, o *bundle.Options) error {
	for _, g := range given {
		name, value, _ := strings.Cut(g, "=")
		if name != bundle.PortStartSysctl {
			return fmt.Errorf("--sysctl %s is not offered: cpc chooses the kernel parameters of a sandbox, except for %s", name, bundle.PortStartSysctl)
		}
		port, err := strconv.Atoi(value)
		if err != nil || port < 0 || port > 65535 {
			return fmt.Errorf("--sysctl %s: invalid value %q: must be a port, or 0", name, value)
		}
		o.PortStart = &port
	}
	return nil
}

var errPortsOfHost = errors.New("--sysctl needs a network of the sandbox's own: with --network host the kernel parameters are the host's")
