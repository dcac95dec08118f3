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
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Host is a canonical host: a DNS name in lower-case ASCII without a trailing
// dot, or an address. Exactly one of the two is set.
type Host struct {
	Name string
	Addr netip.Addr
}

// IsAddr reports whether the host is an address.
func (h Host) IsAddr() bool { return h.Addr.IsValid() }

// String returns the name, or the address as it is written in text.
func (h Host) String() string {
	if h.IsAddr() {
		return h.Addr.String()
	}
	return h.Name
}

const (
	maxName  = 253 // RFC 1035, 2.3.4, without length bytes
	maxLabel = 63
	// maxRaw bounds what is given to the IDNA mapping, which may shorten it.
	maxRaw = 1024
)

var (
	errEmpty = errors.New("empty name")
	errByte  = errors.New("a byte that no host has")
	errLong  = errors.New("too long")
	errLabel = errors.New("empty or too long label")
	errIPv4  = errors.New("ends in a number but is no IPv4 address")
)

// profile maps as the URL standard's "domain to ASCII" does, with beStrict
// false: hyphens and underscores may stand anywhere; lengths are checked here.
func profile() *idna.Profile {
	return idna.New(
		idna.MapForLookup(), idna.StrictDomainName(false), idna.BidiRule(),
		idna.CheckJoiners(true), idna.CheckHyphens(false),
		idna.Transitional(false), idna.VerifyDNSLength(false),
	)
}

// ParseHost is the one canonicaliser: it serves DNS questions, SNI, Host
// headers and rules. It follows the URL standard's host parser, so that it
// sees what a browser would connect to: upper case, a trailing dot, IDN and
// its full stops, IPv4 addresses in octal, hexadecimal or short form, and IPv6
// with or without brackets. It is stricter where that standard decodes or lets
// pass: percent signs, punctuation, control bytes, spaces and zone identifiers
// are refused.
func ParseHost(s string) (Host, error) {
	h, err := parseHost(s)
	if err != nil {
		return Host{}, fmt.Errorf("host %q: %w", clip(s), err)
	}
	return h, nil
}

func parseHost(s string) (Host, error) {
	if s == "" {
		return Host{}, errEmpty
	}
	if len(s) > maxRaw {
		return Host{}, errLong
	}
	if strings.Contains(s, ":") || s[0] == '[' {
		return parseIPv6(s)
	}
	s, err := toASCII(s)
	if err != nil {
		return Host{}, fmt.Errorf("international name: %w", err)
	}
	if strings.IndexFunc(s, forbidden) >= 0 {
		return Host{}, errByte
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return Host{}, errEmpty
	}
	if len(s) > maxName {
		return Host{}, errLong
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel {
			return Host{}, errLabel
		}
	}
	if number(labels[len(labels)-1]) {
		addr, err := parseIPv4(labels)
		return Host{Addr: addr}, err
	}
	return Host{Name: s}, nil
}

// toASCII is the URL standard's mapping, which for an ASCII name without
// punycode is lower case.
func toASCII(s string) (string, error) {
	if plain(s) && !strings.Contains(strings.ToLower(s), "xn--") {
		return strings.ToLower(s), nil
	}
	if !utf8.ValidString(s) {
		return "", errByte
	}
	p := profile()
	ascii, err := p.ToASCII(s)
	if err != nil {
		return "", err
	}
	// What is mapped must stand for itself, or two readers would disagree.
	if again, err := p.ToASCII(ascii); err != nil || again != ascii {
		return "", errLabel
	}
	if slices.Contains(strings.Split(ascii, "."), "xn--") {
		return "", errLabel
	}
	return ascii, nil
}

func parseIPv6(s string) (Host, error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return Host{}, errByte
		}
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return Host{}, errors.New("not an IPv6 address")
	}
	if addr.Zone() != "" || addr.Is4() {
		return Host{}, errByte
	}
	return Host{Addr: addr.Unmap()}, nil
}

// number reports whether a last label makes the URL standard read the whole
// host as an IPv4 address.
func number(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	_, err := part(label)
	return err == nil
}

// part parses one number of an IPv4 address: decimal, 0x hexadecimal, or octal
// with a leading zero. "0x" alone is zero.
func part(s string) (uint64, error) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
		if s == "" {
			return 0, nil
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	if strings.ContainsAny(s, "+-_") {
		return 0, errIPv4
	}
	n, err := strconv.ParseUint(s, base, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 1 << 40, nil // a number, though of no address
	}
	return n, err
}

func parseIPv4(parts []string) (netip.Addr, error) {
	if len(parts) > 4 {
		return netip.Addr{}, errIPv4
	}
	var v uint64
	for i, p := range parts {
		n, err := part(p)
		if err != nil {
			return netip.Addr{}, errIPv4
		}
		last := i == len(parts)-1
		switch {
		case !last && n > 255, last && n >= 1<<(8*uint(5-len(parts))):
			return netip.Addr{}, errIPv4
		case last:
			v |= n
		default:
			v |= n << (8 * uint(3-i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), nil
}

// forbidden lists the URL standard's forbidden domain code points, and
// everything that is not ASCII.
func forbidden(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("#%/:<>?@[\\]^|\"'`{}*,;()!$&+=~", r)
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// clip shortens hostile text for a message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
