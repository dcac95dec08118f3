// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

// netFlags are the flags about the network that cpc run and cpc build share.
type netFlags struct {
	egress                     network.Egress
	addHosts                   []string
	dns, dnsSearch, dnsOptions []string
	hostCA                     string
	proxy                      bool
}

func (f *netFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.egress.Rules, "egress", nil, "Allow the hosts of `RULE` instead of the default policy: HOST[:PORT[,PORT]], *.HOST, a CIDR with ports, or a preset such as @debian; @default is the default policy")
	fs.StringArrayVar(&f.egress.Files, "egress-file", nil, "Read --egress rules from a TOML `FILE` with allow = [...] and deny = [...]")
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
func (f *netFlags) parse(said func(flag string) bool, mode string) (o network.Options, err error) {
	if mode != bundle.NetworkAllowlist && len(f.egress.Rules)+len(f.egress.Files) > 0 {
		return o, fmt.Errorf("--egress needs --network %s", bundle.NetworkAllowlist)
	}
	if _, err := f.egress.Given(); err != nil {
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
	ca, err := f.givenCA(said("host-ca"))
	if err == nil {
		o.HostCA, err = network.ChooseCA(ca, f.egress.Config)
	}
	if err != nil {
		return o, flagError("--host-ca", err)
	}
	var proxy *bool
	if said("proxy") {
		proxy = &f.proxy
	}
	if o.Proxy, err = network.ChooseProxy(proxy, f.egress.Config); err != nil {
		return o, flagError("--proxy", err)
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
		f.egress.Note("--dns has no effect: the sandbox asks cpc for names, and cpc asks as this host does; other name servers are out of its reach")
	}
	d.Search, d.Options = network.ChooseSearch(f.dnsSearch, f.egress.Config), f.dnsOptions
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

// givenCA is what --host-ca says; nil if it was not given.
func (f *netFlags) givenCA(given bool) (*config.CA, error) {
	if !given {
		return nil, nil //nolint:nilnil // nothing was said, and that is no error
	}
	if f.hostCA == "true" || f.hostCA == "false" {
		return &config.CA{On: f.hostCA == "true"}, nil
	}
	path, err := filepath.Abs(f.hostCA)
	return &config.CA{On: true, Path: path}, err
}

// tell prints what a person should know, each thing once.
func (f *netFlags) tell(command string) {
	for _, n := range f.egress.Notes() {
		fmt.Fprintf(stderr(), "%s: note: %s\n", command, visible.Line(n))
	}
}
