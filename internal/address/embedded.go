// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package address

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Embedded returns the IPv4 addresses that a translator, relay or tunnel could
// deliver to what is sent to the address: those that stand in it. What is
// denied or special about one of them is so about the address.
//
//   - IPv4-mapped and -compatible (RFC 4291, 2.5.5), IPv4-translated (RFC 2765, 2.1)
//   - NAT64: 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215), of which a
//     site cuts prefixes of any length of RFC 6052, 2.2
//   - 6to4 (RFC 3056), Teredo's server and client (RFC 4380, 4)
//   - ISATAP below any prefix (RFC 5214, 6.1)
//
// A NAT64 prefix that a network has chosen of its own addresses cannot be told
// from any other.
func Embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() {
		return nil
	}
	if a.Is4In6() {
		return []netip.Addr{a.Unmap()}
	}
	raw := a.As16()
	var out []netip.Addr
	add := func(four ...byte) {
		if v := netip.AddrFrom4([4]byte(four)); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	high, low := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	switch {
	case high == 0 && low>>32 == 0 && low > 1, // compatible; :: and ::1 are none
		high == 0 && low>>32 == 0xffff<<16,   // translated
		high == 0x64ff9b<<32 && low>>32 == 0: // NAT64
		add(raw[12:]...)
	case high>>16 == 0x64ff9b0001: // local NAT64
		for _, four := range [][]byte{ // /48, /56, /64 and /96; byte 8 is always zero
			{raw[6], raw[7], raw[9], raw[10]}, {raw[7], raw[9], raw[10], raw[11]}, raw[9:13], raw[12:],
		} {
			if four[0] != 0 { // a length that this prefix does not have
				add(four...)
			}
		}
	case high>>48 == 0x2002: // 6to4
		add(raw[2:6]...)
	case high>>32 == 0x20010000: // Teredo
		add(raw[4:8]...)
		add(^raw[12], ^raw[13], ^raw[14], ^raw[15])
	}
	if id := low >> 32; id == 0x5efe || id == 0x02005efe { // ISATAP
		add(raw[12:]...)
	}
	return out
}
