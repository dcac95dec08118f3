// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// AddHost is an entry of the sandbox's /etc/hosts, as --add-host asks for it.
// What it names is reached by its address, so a rule must name that.
type AddHost struct {
	Name string
	Addr netip.Addr
}

// ParseAddHost reads name:address or name=address. The address may be in
// brackets.
func ParseAddHost(s string) (AddHost, error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok {
		name, text, ok = strings.Cut(s, ":")
	}
	if !ok {
		return AddHost{}, fmt.Errorf("host %q: must be name:address", s)
	}
	if text == "host-gateway" {
		return AddHost{}, fmt.Errorf("host %q: a sandbox does not reach the host", s)
	}
	h, err := policy.ParseHost(name)
	if err == nil && h.IsAddr() {
		err = errors.New("an address in place of the name")
	}
	if err != nil {
		return AddHost{}, fmt.Errorf("host %q: %w", s, err)
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil || addr.Zone() != "" {
		return AddHost{}, fmt.Errorf("host %q: not an address", s)
	}
	return AddHost{Name: h.Name, Addr: address.Canonical(addr)}, nil
}

// ParseSearch reads a domain of --dns-search; "." stands for none.
func ParseSearch(s string) (string, error) {
	if s == "." {
		return "", nil
	}
	h, err := policy.ParseHost(s)
	if err == nil && h.IsAddr() {
		err = errors.New("an address in place of a domain")
	}
	if err != nil {
		return "", fmt.Errorf("search domain %q: %w", s, err)
	}
	return h.Name, nil
}

// CheckResolverOption checks an option of --dns-option, as resolv.conf(5) has
// them: a word, or a word and a number.
func CheckResolverOption(s string) error {
	name, number, has := strings.Cut(s, ":")
	word := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && name != ""
	digits := strings.Trim(number, "0123456789") == "" && number != "" && len(number) < 6
	if !word || len(name) > 32 || has && !digits {
		return fmt.Errorf("resolver option %q: must be NAME or NAME:NUMBER, such as ndots:2", s)
	}
	return nil
}

// ResolverLines returns the lines of a resolv.conf for search domains and
// options.
func ResolverLines(search, options []string) (string, error) {
	var out string
	var domains []string
	for _, s := range search {
		d, err := ParseSearch(s)
		if err != nil {
			return "", err
		}
		if d != "" {
			domains = append(domains, d)
		}
	}
	if len(domains) > 0 {
		out += "search " + strings.Join(domains, " ") + "\n"
	}
	for _, o := range options {
		if err := CheckResolverOption(o); err != nil {
			return "", err
		}
	}
	if len(options) > 0 {
		out += "options " + strings.Join(options, " ") + "\n"
	}
	return out, nil
}

// ResolvConf returns the sandbox's /etc/resolv.conf with what --dns-search and
// --dns-option ask for.
func (p Plan) ResolvConf(search, options []string) (string, error) {
	more, err := ResolverLines(search, options)
	return "nameserver " + p.Gateway.V4.Addr().String() + "\n" + more, err
}

// HostLines returns the lines of an /etc/hosts for --add-host.
func HostLines(add []AddHost) string {
	var b strings.Builder
	for _, a := range add {
		fmt.Fprintf(&b, "%s\t%s\n", a.Addr, a.Name)
	}
	return b.String()
}

// LocalHosts returns an /etc/hosts with the loopback's names and --add-host.
func LocalHosts(add []AddHost) string {
	return "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + HostLines(add)
}

// Hosts returns the sandbox's /etc/hosts.
func (p Plan) Hosts(hostname string, add []AddHost) string {
	out := LocalHosts(add)
	if hostname != "" {
		out += fmt.Sprintf("%s\t%s\n", p.Sandbox.V4.Addr(), hostname)
	}
	return out
}
