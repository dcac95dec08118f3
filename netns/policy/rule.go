// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Proto is how much of a connection the gateway reads before it passes it on.
type Proto string

const (
	// TLS: the ClientHello must name the rule's host (SNI).
	TLS Proto = "tls"
	// HTTP: the Host of each request must be the rule's host.
	HTTP Proto = "http"
	// Raw: name and port decide; the bytes are not looked at.
	Raw Proto = "raw"
)

// Rule is one line of a policy. Its text, which String returns in canonical
// form, is also its id.
type Rule struct {
	// Name is the canonical host, without the "*." of a wildcard. It is empty
	// when Prefix is set.
	Name     string
	Wildcard bool
	// Prefix is an address range; an address is a range of one.
	Prefix netip.Prefix
	// Ports are in order, without duplicates. None, as a deny rule may have,
	// is every port.
	Ports []uint16
	// Proto is what the rule asks for; empty leaves it to the port.
	Proto Proto
	// Preset is the preset that the rule comes from, with its "@", or empty.
	Preset string
}

const maxPorts = 64

// defaultPorts are those of a rule that names none.
func defaultPorts() []uint16 { return []uint16{80, 443} }

// ProtoOf returns how a connection to the port is read by this rule.
func (r Rule) ProtoOf(port uint16) Proto {
	switch {
	case r.Proto != "":
		return r.Proto
	case r.Prefix.IsValid():
		return Raw // there is no name to hold it against
	case port == 443 || port == 8443:
		return TLS
	case port == 80 || port == 8080:
		return HTTP
	}
	return Raw
}

// String returns the rule in canonical form; ParseRule reads it back.
func (r Rule) String() string {
	var b strings.Builder
	switch {
	case r.Prefix.IsValid():
		host := r.Prefix.String()
		if r.Prefix.IsSingleIP() {
			host = r.Prefix.Addr().String()
		}
		if r.Prefix.Addr().Is6() {
			host = "[" + host + "]"
		}
		b.WriteString(host)
	case r.Wildcard:
		b.WriteString("*." + r.Name)
	default:
		b.WriteString(r.Name)
	}
	for i, p := range r.Ports {
		sep := ","
		if i == 0 {
			sep = ":"
		}
		b.WriteString(sep + strconv.Itoa(int(p)))
	}
	if r.Proto != "" {
		b.WriteString("/" + string(r.Proto))
	}
	return b.String()
}

// matches reports whether the rule names the host and, unless port is 0, the
// port.
func (r Rule) matches(h Host, port uint16) bool {
	if port != 0 && len(r.Ports) > 0 && !slices.Contains(r.Ports, port) {
		return false
	}
	if h.IsAddr() {
		return r.Prefix.IsValid() && r.Prefix.Contains(h.Addr)
	}
	if r.Wildcard {
		return strings.HasSuffix(h.Name, "."+r.Name)
	}
	return r.Name != "" && r.Name == h.Name
}

// ParseRule reads one rule:
//
//	host[:port[,port…]][/tcp|/tls|/http|/raw]
//
// host is a name, *.name for every name below it, an address, or an address
// range in CIDR form (IPv6 in brackets when ports follow). Without ports, 80
// and 443. /tcp says nothing more than the default does; /tls and /http have
// the gateway check SNI or Host on unusual ports; /raw has it check neither.
func ParseRule(s string) (Rule, error) {
	r, err := withPorts(s)
	if err != nil {
		return r, err
	}
	if suffix, icann := publicsuffix.PublicSuffix(r.Name); r.Wildcard && icann && suffix == r.Name {
		return Rule{}, fmt.Errorf("rule %q: anybody can register a name below %s: name the hosts", clip(s), r.Name)
	}
	return r, nil
}

// withPorts is ParseRule for rules that take effect already.
func withPorts(s string) (Rule, error) {
	r, err := ParseDeny(s)
	if err == nil && len(r.Ports) == 0 {
		r.Ports = defaultPorts()
	}
	return r, err
}

// ParseDeny reads a deny rule, which without ports denies every port.
func ParseDeny(s string) (Rule, error) {
	r, err := parseRule(s)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", clip(s), err)
	}
	return r, nil
}

func parseRule(s string) (Rule, error) {
	if len(s) > maxRaw {
		return Rule{}, errLong
	}
	rest, proto, err := cutProto(strings.TrimSpace(s))
	if err != nil {
		return Rule{}, err
	}
	host, ports, err := cutPorts(rest)
	if err != nil {
		return Rule{}, err
	}
	r := Rule{Ports: ports, Proto: proto}
	if base, ok := strings.CutPrefix(host, "*."); ok {
		r.Wildcard = true
		host = base
	}
	if strings.Contains(host, "*") {
		return Rule{}, errors.New("a star stands for whole labels, in front: *.example.com")
	}
	return r, r.setHost(host)
}

func (r *Rule) setHost(host string) error {
	if strings.Contains(host, "/") {
		if r.Wildcard {
			return errors.New("a star before an address range")
		}
		p, err := parsePrefix(host)
		r.Prefix = p
		return r.checkPrefix(err)
	}
	h, err := parseHost(host)
	if err != nil {
		return err
	}
	if h.IsAddr() {
		if r.Wildcard {
			return errors.New("a star before an address")
		}
		r.Prefix = netip.PrefixFrom(h.Addr, h.Addr.BitLen())
		return r.checkPrefix(nil)
	}
	r.Name = h.Name
	return nil
}

func (r *Rule) checkPrefix(err error) error {
	if err == nil && (r.Proto == TLS || r.Proto == HTTP) {
		err = errors.New("an address has no name to check: /tls and /http need one")
	}
	return err
}

func parsePrefix(s string) (netip.Prefix, error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Prefix{}, errByte
		}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("not an address range")
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("write an IPv4 range as such")
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("bits set after /%d: did you mean %s", p.Bits(), p.Masked())
	}
	return p, nil
}

func cutProto(s string) (rest string, p Proto, err error) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 || i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
		return s, "", nil // nothing, or the length of a range
	}
	switch suffix := s[i+1:]; suffix {
	case "tcp":
		return s[:i], "", nil
	case string(TLS), string(HTTP), string(Raw):
		return s[:i], Proto(suffix), nil
	case "udp":
		return "", "", errors.New("only TCP leaves a sandbox")
	default:
		return "", "", fmt.Errorf("unknown protocol %q: tcp, tls, http or raw", clip(suffix))
	}
}

func cutPorts(s string) (host string, ports []uint16, err error) {
	i := strings.LastIndexByte(s, ':')
	bare := strings.Count(s, ":") > 1 && s[0] != '['
	if i < 0 || bare || strings.LastIndexByte(s, ']') > i {
		return s, nil, nil
	}
	for text := range strings.SplitSeq(s[i+1:], ",") {
		p, err := parsePort(text)
		if err != nil {
			return "", nil, err
		}
		if ports = append(ports, p); len(ports) > maxPorts {
			return "", nil, fmt.Errorf("more than %d ports", maxPorts)
		}
	}
	slices.Sort(ports)
	return s[:i], slices.Compact(ports), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("port %q: a number from 1 to 65535", clip(s))
	}
	return uint16(n), nil
}

// ParseTarget reads what a person calls a place on the network, host, host:port
// or the URL of a page, and returns its canonical host and port, 443 if none is
// named.
func ParseTarget(s string) (host string, port uint16, err error) {
	rest, ports := s, []uint16(nil)
	scheme, after, isURL := strings.Cut(s, "://")
	if isURL {
		rest, _, _ = strings.Cut(after, "/")
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			rest = rest[i+1:]
		}
	}
	if rest, ports, err = cutPorts(rest); err != nil {
		return "", 0, fmt.Errorf("host %q: %w", clip(s), err)
	}
	switch {
	case len(ports) > 1:
		return "", 0, fmt.Errorf("host %q: one port", clip(s))
	case len(ports) == 1:
		port = ports[0]
	case isURL && strings.EqualFold(scheme, "http"):
		port = 80
	default:
		port = 443
	}
	h, err := ParseHost(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]"))
	if err != nil {
		return "", 0, fmt.Errorf("host %q: %w", clip(s), err)
	}
	return h.String(), port, nil
}
