// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"example.com":                        "example.com",
		"EXAMPLE.Com.":                       "example.com",
		"a_b.example.com":                    "a_b.example.com",
		"-a-.example":                        "-a-.example",
		"bücher.example":                     "xn--bcher-kva.example",
		"BÜCHER.example":                     "xn--bcher-kva.example",
		"xn--bcher-kva.example":              "xn--bcher-kva.example",
		"XN--BCHER-KVA.example":              "xn--bcher-kva.example",
		"faß.de":                             "xn--fa-hia.de",
		"example。com":                        "example.com", // ideographic full stop
		"ｅｘａｍｐｌｅ.com":                        "example.com",
		"exa\u00admple.com":                  "example.com", // soft hyphen
		"127.0.0.1":                          "127.0.0.1",
		"127.0.0.1.":                         "127.0.0.1",
		"127.1":                              "127.0.0.1",
		"0177.0.0.1":                         "127.0.0.1",
		"0x7f.1":                             "127.0.0.1",
		"0X7F000001":                         "127.0.0.1",
		"2130706433":                         "127.0.0.1",
		"017700000001":                       "127.0.0.1",
		"0x":                                 "0.0.0.0",
		"１２７.0.0.1":                          "127.0.0.1",
		"::1":                                "::1",
		"[::1]":                              "::1",
		"[::ffff:127.0.0.1]":                 "127.0.0.1",
		"::ffff:7f00:1":                      "127.0.0.1",
		"0x7f.example":                       "0x7f.example",
		"1.2.3.4.example":                    "1.2.3.4.example",
		"a" + strings.Repeat("b", 62) + ".x": "a" + strings.Repeat("b", 62) + ".x",
	} {
		h, err := ParseHost(in)
		if err != nil || h.String() != want {
			t.Errorf("ParseHost(%q) = %v, %v; want %s", in, h, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a..", "a b", "a\x00b", "a\x00.example.com", "example.com\n", "exam%70le.com",
		"user@example.com", "example.com/x", "example.com:80", "a\\b", "[::1", "::1]", "[::1]x", "fe80::1%eth0",
		"[127.0.0.1]", "1.2.3.4.5", "256.256.256.256", "1.2.3.999", "09.1.1.1", "0x1ffffffff", "99999999999999999999",
		"foo.0x1", "foo.1", "*.example.com", "example.com\x7f", "a" + strings.Repeat("b", 63) + ".x",
		strings.Repeat("abc.", 64), "xn--a.example", "xn--", "\xff\xfe", "a\u200bb\u2260\u0338:",
	} {
		if h, err := ParseHost(in); err == nil {
			t.Errorf("ParseHost(%q) = %v, want an error", in, h)
		}
	}
}

// FuzzParseHost: what comes out is canonical: it parses to itself, and holds
// only what a name has.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"Example.COM.", "bücher.de", "0x7f.1", "[::ffff:1.2.3.4]", "xn--bcher-kva", "a\x00b", "１２７.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			return
		}
		if h.IsAddr() == (h.Name != "") {
			t.Fatalf("%q: both or neither of name and address: %+v", s, h)
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Fatalf("%q: %q again is %v, %v", s, h, again, err)
		}
		if h.Addr.Is4In6() || h.Addr.Zone() != "" {
			t.Fatalf("%q: address %v is not canonical", s, h.Addr)
		}
		if strings.ToLower(h.Name) != h.Name || strings.HasSuffix(h.Name, ".") || len(h.Name) > maxName {
			t.Fatalf("%q: name %q is not canonical", s, h.Name)
		}
		if _, err := netip.ParseAddr(h.Name); err == nil {
			t.Fatalf("%q: name %q is an address", s, h.Name)
		}
	})
}
