// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// embeddings are all the ways in which an IPv4 address can stand in another.
func embeddings(a netip.Addr) map[string]netip.Addr {
	b := a.As4()
	hex := func(format string) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf(format, b[0], b[1], b[2], b[3]))
	}
	out := map[string]netip.Addr{
		"itself": a, "mapped": netip.AddrFrom16(a.As16()), "mapped, with a zone": netip.AddrFrom16(a.As16()).WithZone("eth0"),
		"translated": hex("::ffff:0:%02x%02x:%02x%02x"),
		"NAT64":      hex("64:ff9b::%02x%02x:%02x%02x"),
		"6to4":       hex("2002:%02x%02x:%02x%02x::1"),
		"ISATAP":     hex("2a00:1450:1:2:0:5efe:%02x%02x:%02x%02x"), "ISATAP, universal": hex("2a00:1450:1:2:200:5efe:%02x%02x:%02x%02x"),
		"ISATAP, link-local": hex("fe80::5efe:%02x%02x:%02x%02x"),
		"Teredo's server":    hex("2001:0:%02x%02x:%02x%02x:8000:63bf:3fff:fdd2"),
		"Teredo's client":    netip.MustParseAddr(fmt.Sprintf("2001:0:4136:e378:8000:63bf:%02x%02x:%02x%02x", ^b[0], ^b[1], ^b[2], ^b[3])),
	}
	if b[0] != 0 { // ::1 and the like are no IPv4 addresses
		out["compatible"] = hex("::%02x%02x:%02x%02x")
		out["NAT64, local, /48"] = hex("64:ff9b:1:%02x%02x:%02x:%02x00::")
		out["NAT64, local, /56"] = hex("64:ff9b:1:aa%02x:%02x:%02x%02x::")
		out["NAT64, local, /64"] = hex("64:ff9b:1:aaaa:%02x:%02x%02x:%02x00:0")
		out["NAT64, local, /96"] = hex("64:ff9b:1:aaaa:bb:cccc:%02x%02x:%02x%02x")
	}
	for k, v := range out {
		if !v.IsValid() {
			delete(out, k)
		}
	}
	return out
}

// denies holds the rule of an IPv4 range against every embedding of an address,
// with allow rules for all there is.
func denies(t *testing.T, deny string, a netip.Addr, want bool) {
	t.Helper()
	p, err := New([]string{"0.0.0.0/0:80", "[::/0]:80"}, []string{deny})
	if err != nil {
		t.Fatal(err)
	}
	limited := (&Policy{}).Within(p)
	for how, e := range embeddings(a) {
		d := p.Decide(Host{Addr: e}, 80)
		if d.Allowed == want || p.Denies(e, 80) != want || limited.Denies(e, 80) != want {
			t.Errorf("deny %s, %s as %s, %s: %+v", deny, a, how, e, d)
		}
		if p.Denies(e, 81) != want {
			t.Errorf("deny %s, %s as %s, %s, port 81", deny, a, how, e)
		}
	}
}

// TestDenyHoldsEmbedded: no spelling of an address goes round a deny rule.
func TestDenyHoldsEmbedded(t *testing.T) {
	denies(t, "203.0.113.64/28", netip.MustParseAddr("203.0.113.66"), true)
	denies(t, "203.0.113.66", netip.MustParseAddr("203.0.113.66"), true)
	denies(t, "10.0.0.0/8", netip.MustParseAddr("10.255.0.1"), true)
	// The control: an address outside of the range. (For Teredo the other of
	// both is no matter here.)
	denies(t, "203.0.113.64/28", netip.MustParseAddr("203.0.113.80"), false)
}

func TestEmbedded(t *testing.T) {
	for addr, want := range map[string][]string{
		"::": nil, "::1": nil, "8.8.8.8": nil, "2606:4700::1111": nil, "fe80::1": nil,
		"64:ff9b::1.2.3.4": {"1.2.3.4"}, "::ffff:1.2.3.4": {"1.2.3.4"}, "2002:102:304::": {"1.2.3.4"},
		"64:ff9b:1::1.2.3.4": {"2.3.4.0", "1.2.3.4"}, "64:ff9b:2::1.2.3.4": nil, "64:ff9b:0:0:1::1.2.3.4": nil,
	} {
		var got []string
		for _, a := range address.Embedded(netip.MustParseAddr(addr)) {
			got = append(got, a.String())
		}
		slices.Sort(got)
		slices.Sort(want)
		if addr == "64:ff9b:1::1.2.3.4" { // of which length is not known: the right one is among them
			if !slices.Contains(got, "1.2.3.4") {
				t.Errorf("%s: %v", addr, got)
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

// FuzzDenyEmbedded: a rule for any range holds for every embedding of each
// address in it.
func FuzzDenyEmbedded(f *testing.F) {
	f.Add(uint8(203), uint8(0), uint8(113), uint8(66), uint8(28))
	f.Add(uint8(127), uint8(0), uint8(0), uint8(1), uint8(8))
	f.Fuzz(func(t *testing.T, a, b, c, d, bits uint8) {
		addr := netip.AddrFrom4([4]byte{a, b, c, d})
		prefix, err := addr.Prefix(int(bits % 33))
		if err != nil {
			t.Fatal(err)
		}
		denies(t, prefix.String(), addr, true)
	})
}
