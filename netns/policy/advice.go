// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// PresetFor returns the preset that lets out to the host at the port, the one
// with the fewest hosts if several do; "" if none does. Port 0 is any.
func PresetFor(h Host, port uint16) string {
	best := Preset{}
	for _, p := range Presets() {
		rules, err := p.rules()
		if err != nil {
			continue
		}
		if _, ok := first(rules, h, port); ok && (best.Name == "" || len(p.Hosts) < len(best.Hosts)) {
			best = p
		}
	}
	return best.Name
}

// RuleFor returns the text of the smallest rule that names a host, as a program
// wrote it, with a port; port 0 leaves it to the default. It is "" for what is no
// host, so that nothing that a sandbox chooses gets into a command line.
func RuleFor(host string, port uint16) string {
	h, err := ParseHost(host)
	if err != nil {
		return ""
	}
	r := Rule{Name: h.Name}
	if h.IsAddr() {
		r.Prefix = netip.PrefixFrom(h.Addr, h.Addr.BitLen())
	}
	if port != 0 {
		r.Ports = []uint16{port}
	}
	if _, err := ParseRule(r.String()); err != nil || strings.HasPrefix(r.Name, "-") {
		return ""
	}
	return r.String()
}

// Advice returns what a person who gives these allow rules should know at once:
// which have no effect, with what does work, and which open more than they seem
// to. Rules that do not parse have none; those of presets are as they should be.
func Advice(allow []string) []string {
	p, err := New(allow, nil)
	if err != nil {
		return nil
	}
	var out []string
	for _, r := range p.allow {
		if r.Preset != "" {
			continue
		}
		note := r.useless(p)
		if note == "" {
			note = r.shared()
		}
		if note != "" {
			out = append(out, fmt.Sprintf("%s %s", r, note))
		}
	}
	return out
}

const itself = "is the sandbox itself, where its programs reach each other without a rule; it does not reach this host. " +
	"For a service of this host: let it listen on an address that is not loopback, and allow that address: --egress ADDRESS:PORT"

// useless says why a rule has no effect, or "".
func (r Rule) useless(p *Policy) string {
	switch name := "." + r.Name; {
	case r.Prefix.IsValid():
		return r.uselessRange(p)
	case strings.HasSuffix(name, ".localhost"), slices.Contains([]string{"localhost.localdomain", "ip6-localhost", "ip6-loopback"}, r.Name):
		return itself
	case slices.Contains([]string{"host.docker.internal", "gateway.docker.internal", "host.containers.internal"}, r.Name):
		return "is a name that docker and podman make up for the host; here it has no effect unless this host resolves it. " +
			"For a service of this host, allow the host's address: --egress ADDRESS:PORT"
	}
	return ""
}

func (r Rule) uselessRange(p *Policy) string {
	first := r.Prefix.Addr()
	for _, s := range []string{"198.18.0.0/15"} {
		if block := netip.MustParsePrefix(s); block.Contains(first) && r.Prefix.Bits() >= block.Bits() {
			return "has no effect: these addresses stand for names in a sandbox. Allow the name"
		}
	}
	block, special := address.Special(first, nil)
	switch {
	case !special:
		return ""
	case first.IsMulticast() && r.Prefix.Bits() >= 4:
		return "has no effect: only TCP leaves a sandbox, and nobody answers it at a multicast address"
	case first.IsLoopback() || first.IsUnspecified() && r.Prefix.IsSingleIP():
		if r.Prefix.IsSingleIP() && first.IsLoopback() && p.namesPort(r.Ports) {
			return "" // it grants the address to a name that this host resolves to it
		}
		return itself
	case block.Prefix.IsSingleIP() && !r.Prefix.IsSingleIP() && r.Prefix.Bits() >= 8:
		return fmt.Sprintf("has no effect: %s addresses want a rule for each one address, such as %s", block.What, Rule{Prefix: block.Prefix, Ports: r.Ports})
	}
	return ""
}

// namesPort reports whether a rule by name has one of the ports.
func (p *Policy) namesPort(ports []uint16) bool {
	return slices.ContainsFunc(p.allow, func(r Rule) bool {
		return r.Name != "" && r.Preset == "" && slices.ContainsFunc(ports, func(port uint16) bool { return slices.Contains(r.Ports, port) })
	})
}

// shared says that anybody can have a host, or data, under a rule, or "".
func (r Rule) shared() string {
	switch {
	case r.Name == "":
		return ""
	case r.Wildcard && (isSuffix(r.Name) || hasSuffixes(r.Name)):
		return "lets out to hosts of anybody: a sandbox can leave data with whoever takes a name below " + r.Name + ". Name the hosts that are needed"
	case !r.Wildcard && slices.Contains(bucketHosts(), r.Name):
		return "serves everybody's data: a sandbox can leave data there for anybody. Allow a host of one's own, such as BUCKET." + r.Name + ", where the program can use that"
	}
	return ""
}

// isSuffix reports whether a name is one of those below which a provider gives
// names to its customers (the private part of the public suffix list).
func isSuffix(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix == name && strings.Contains(name, ".")
}

// hasSuffixes reports whether such names are below a name: the list that is built
// in cannot be asked, so these are the large ones.
func hasSuffixes(name string) bool {
	return slices.Contains([]string{
		"amazonaws.com", "windows.net", "azure.com", "azure.net", "azureedge.net", "azurefd.net", "azurewebsites.net", "cloudapp.net",
		"googleapis.com", "googleusercontent.com", "storage.googleapis.com", "run.app", "cloudfunctions.net", "firebaseio.com",
		"cloudfront.net", "fastly.net", "akamaized.net", "akamaihd.net", "edgekey.net", "edgesuite.net", "b-cdn.net", "r2.dev", "cloudflarestorage.com",
		"digitaloceanspaces.com", "backblazeb2.com", "wasabisys.com", "linodeobjects.com", "aliyuncs.com", "myqcloud.com", "oraclecloud.com",
		"ngrok.io", "ngrok.app", "ngrok-free.app", "trycloudflare.com", "githubusercontent.com", "sharepoint.com",
	}, name)
}

// bucketHosts keep everybody's data under one name.
func bucketHosts() []string { return []string{"storage.googleapis.com", "s3.amazonaws.com"} }
