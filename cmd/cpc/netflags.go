// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

// netFlags are the flags about the network that cpc run and cpc build share.
type netFlags struct {
	egress, egressFiles            []string
	addHosts                       []string
	dns, dnsSearch, dnsOptions     []string
	hostCA                         string
	proxy                          bool
	hostCAGiven, proxyGiven, learn bool
	build                          bool // for RUN steps

	config config.Config
	rules  *policy.File // what given has read, once
	notes  []string     // for the person
}

func (f *netFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.egress, "egress", nil, "Allow the hosts of `RULE` instead of the default policy: HOST[:PORT[,PORT]], *.HOST, a CIDR with ports, or a preset such as @debian; @default is the default policy")
	fs.StringArrayVar(&f.egressFiles, "egress-file", nil, "Read --egress rules from a TOML `FILE` with allow = [...] and deny = [...]")
	fs.StringArrayVar(&f.addHosts, "add-host", nil, "Add a line to /etc/hosts: `NAME:ADDRESS`")
	fs.StringVar(&f.hostCA, "host-ca", "", "Trust the certificate authorities of this host, or those in `FILE`; =false turns this off")
	fs.Lookup("host-ca").NoOptDefVal = "true"
	fs.BoolVar(&f.proxy, "proxy", false, "Connect through the proxies in HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
}

// registerDNS adds what only cpc run has.
func (f *netFlags) registerDNS(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.dns, "dns", nil, "`ADDRESS` of a name server; only for --network host, as the allowlist has its own name server")
	fs.StringArrayVar(&f.dnsSearch, "dns-search", nil, "Search `DOMAIN` that completes short host names")
	fs.StringArrayVar(&f.dnsOptions, "dns-option", nil, "Resolver `OPTION`, such as ndots:2")
	fs.StringArrayVar(&f.dnsOptions, "dns-opt", nil, "The same as --dns-option")
	_ = fs.MarkHidden("dns-opt") // it exists: see the line above
}

// networkNamed returns which network a name means. Docker's default networks
// are those that let a container out, so they stand for this one.
func networkNamed(name string) (net, note string, err error) {
	switch name {
	case bundle.NetworkNone, bundle.NetworkAllowlist, bundle.NetworkHost:
		return name, "", nil
	case "bridge", "default":
		return bundle.NetworkAllowlist, fmt.Sprintf("--network %s means the allowlist: the sandbox reaches the hosts of --egress or of the default policy", name), nil
	}
	return "", "", fmt.Errorf("invalid value %q for --network: choose %s, %s, %s", name, bundle.NetworkAllowlist, bundle.NetworkNone, bundle.NetworkHost)
}

// parse makes sense of the flags but for the policy, which an image may have
// a say in.
func (f *netFlags) parse(fs *pflag.FlagSet, mode string) (o network.Options, err error) {
	f.hostCAGiven, f.proxyGiven = fs.Changed("host-ca"), fs.Changed("proxy")
	if mode != bundle.NetworkAllowlist && len(f.egress)+len(f.egressFiles) > 0 {
		return o, fmt.Errorf("--egress needs --network %s", bundle.NetworkAllowlist)
	}
	if _, err := f.given(); err != nil {
		return o, err
	}
	for _, h := range f.addHosts {
		host, err := netns.ParseAddHost(h)
		if err != nil {
			return o, flagError("--add-host", err)
		}
		o.Hosts = append(o.Hosts, host)
	}
	if err := f.parseDNS(mode, &o.DNS); err != nil {
		return o, err
	}
	if o.HostCA, err = f.findCA(); err != nil {
		return o, flagError("--host-ca", err)
	}
	if f.useProxy() {
		if o.Proxy, err = network.ProxyOfEnvironment(); err != nil {
			return o, flagError("--proxy", err)
		}
	}
	return o, nil
}

func (f *netFlags) parseDNS(mode string, d *network.DNS) error {
	for _, s := range f.dns {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("--dns %q: not an IP address", s)
		}
		d.Servers = append(d.Servers, a.String())
	}
	if len(f.dns) > 0 && mode == bundle.NetworkAllowlist {
		d.Servers = nil
		f.notes = append(f.notes, "--dns has no effect: the sandbox asks cpc for names, and cpc asks as this host does; other name servers are out of its reach")
	}
	d.Search, d.Options = f.dnsSearch, f.dnsOptions
	if d.Search == nil {
		d.Search = f.config.User.Network.DNSSearch
	}
	if d.Search == nil {
		d.Search = f.config.System.Network.DNSSearch
	}
	for _, s := range d.Search {
		if _, err := netns.ParseSearch(s); err != nil {
			return flagError("--dns-search", err)
		}
	}
	for _, s := range d.Options {
		if err := netns.CheckResolverOption(s); err != nil {
			return flagError("--dns-option", err)
		}
	}
	return nil
}

// findCA returns the CA bundle to pass on; the zero value is none.
func (f *netFlags) findCA() (network.CA, error) {
	ca := f.config.User.Network.HostCA
	if ca == nil {
		ca = f.config.System.Network.HostCA
	}
	if f.hostCAGiven {
		switch f.hostCA {
		case "true", "false":
			ca = &config.CA{On: f.hostCA == "true"}
		default:
			path, err := filepath.Abs(f.hostCA)
			if err != nil {
				return network.CA{}, err
			}
			ca = &config.CA{On: true, Path: path}
		}
	}
	switch {
	case ca == nil || !ca.On:
		return network.CA{}, nil
	case ca.Path == "":
		return network.FindCA()
	}
	return network.ReadCA(ca.Path)
}

func (f *netFlags) useProxy() bool {
	switch {
	case f.proxyGiven:
		return f.proxy
	case f.config.User.Network.Proxy != nil:
		return *f.config.User.Network.Proxy
	case f.config.System.Network.Proxy != nil:
		return *f.config.System.Network.Proxy
	}
	return false
}

// given returns the rules of the command line. A file is read once: what was
// checked is what counts, and a pipe has nothing more to read.
func (f *netFlags) given() (policy.File, error) {
	if f.rules != nil {
		return *f.rules, nil
	}
	all := policy.File{Allow: f.egress}
	if _, err := policy.New(f.egress, nil); err != nil {
		return all, flagError("--egress", err)
	}
	for _, path := range f.egressFiles {
		file, err := readEgressFile(path)
		if err != nil {
			return all, flagError("--egress-file", err)
		}
		if file.Allow != nil && all.Allow == nil {
			all.Allow = []string{}
		}
		all.Allow, all.Deny = append(all.Allow, file.Allow...), append(all.Deny, file.Deny...)
	}
	if all.Allow == nil && len(all.Deny) > 0 {
		f.notes = append(f.notes, "--egress-file denies and allows nothing of its own: what is let out to otherwise stays as it is without it")
	}
	f.rules = &all
	return all, nil
}

func readEgressFile(path string) (policy.File, error) {
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

// policy puts together what may be reached. label is the image's suggestion.
func (f *netFlags) policy(label string) (policy.Spec, error) {
	given, err := f.given()
	if err != nil {
		return policy.Spec{}, err
	}
	s := policy.Sources{Given: given, Label: label}
	for _, c := range []struct {
		from config.File
		into *policy.File
	}{{f.config.System, &s.System}, {f.config.User, &s.User}} {
		e := c.from.Egress
		if b := c.from.Build.Egress; f.build {
			e.Deny = slices.Concat(e.Deny, b.Deny)
			if b.Allow != nil {
				e.Allow = b.Allow
			}
		}
		*c.into = policy.File{Allow: e.Allow, Deny: e.Deny, Limit: e.Limit}
		if _, err := c.into.Policy(); err != nil {
			return policy.Spec{}, fmt.Errorf("configuration %s: %w", c.from.Path, err)
		}
		if e.ImageLabel == config.LabelIgnore {
			s.Label = ""
		}
	}
	if f.learn && s.Given.Allow == nil { // what is denied is learnt
		s.Given.Allow = []string{}
	}
	spec, notes, err := s.Compose()
	f.notes = append(f.notes, notes...)
	return spec, err
}

// noteHosts tells of hosts of --add-host that no rule lets out to: what they name
// is reached by its address.
func (f *netFlags) noteHosts(o network.Options) {
	p, err := o.Policy.Policy()
	if err != nil {
		return // it is an error already
	}
	for _, h := range o.Hosts {
		if !h.Addr.IsLoopback() && !h.Addr.IsUnspecified() && len(p.Ports(policy.Host{Addr: h.Addr})) == 0 {
			f.notes = append(f.notes, fmt.Sprintf("--add-host %s:%s: no rule lets out to that address; to reach it: --egress %s", h.Name, h.Addr, policy.RuleFor(h.Addr.String(), 443)))
		}
	}
}

// asked returns the flags that say what the policy lets out to: those that were
// given, or else as many as it takes to say what holds without them.
func (f *netFlags) asked(spec policy.Spec) []string {
	var out []string
	for _, file := range f.egressFiles {
		out = append(out, "--egress-file "+quoted(file))
	}
	rules := f.egress
	if f.rules == nil || f.rules.Allow == nil {
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

// tell prints what a person should know, each thing once.
func (f *netFlags) tell(command string) {
	slices.Sort(f.notes)
	for _, n := range slices.Compact(f.notes) {
		fmt.Fprintf(stderr(), "%s: note: %s\n", command, visible.Line(n))
	}
}
