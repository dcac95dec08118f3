// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

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
		return AddHost{}, fmt.Errorf("host %q: want name:address", s)
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
	return AddHost{Name: h.Name, Addr: addr}, nil
}

// ResolvConf returns the sandbox's /etc/resolv.conf. search are the domains of
// --dns-search; "." means none.
func (p Plan) ResolvConf(search []string) (string, error) {
	out := "nameserver " + p.Gateway.V4.Addr().String() + "\n"
	var domains []string
	for _, s := range search {
		if s == "." {
			continue
		}
		h, err := policy.ParseHost(s)
		if err == nil && h.IsAddr() {
			err = errors.New("an address in place of a domain")
		}
		if err != nil {
			return "", fmt.Errorf("search domain %q: %w", s, err)
		}
		domains = append(domains, h.Name)
	}
	if len(domains) > 0 {
		out += "search " + strings.Join(domains, " ") + "\n"
	}
	return out, nil
}

// Hosts returns the sandbox's /etc/hosts.
func (p Plan) Hosts(hostname string, add []AddHost) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, a := range add {
		fmt.Fprintf(&b, "%s\t%s\n", a.Addr, a.Name)
	}
	if hostname != "" {
		fmt.Fprintf(&b, "%s\t%s\n", p.Sandbox.V4.Addr(), hostname)
	}
	return b.String()
}
