// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package address

import (
	"net/netip"
	"testing"
)

func TestSpecial(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("127.0.0.1")}
	for addr, what := range map[string]string{
		"8.8.8.8": "", "2606:4700::1": "", "64:ff9b::8.8.8.8": "",
		"127.0.0.1": "loopback", "127.9.9.9": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
		"0.0.0.0": "this host", "0.1.2.3": "this host", "::": "this host", "::7f00:1": "loopback",
		"10.0.0.1": "private", "172.31.0.1": "private", "172.32.0.1": "", "192.168.0.1": "private", "100.64.1.1": "carrier-grade NAT",
		"100.100.100.200": "cloud metadata", "169.254.169.254": "cloud metadata", "169.254.1.1": "link-local", "fd00:ec2::254": "cloud metadata",
		"fe80::1": "link-local", "fd12::1": "unique local", "224.0.0.1": "multicast", "ff02::1": "multicast", "255.255.255.255": "reserved",
		"198.18.0.1": "benchmarking", "64:ff9b::169.254.169.254": "cloud metadata", "64:ff9b::10.0.0.1": "private", "2002:7f00:1::": "loopback", "2002:808:808::1": "6to4",
		"64:ff9b:1::a00:1": "private", "64:ff9b:1::808:808": "local IPv4/IPv6 translation", "64:ff9b:1:a00:1:100::": "private",
		"2001:0:808:808:0:ffff:f5ff:fffe": "private", "2001:db8::5efe:a00:1": "private", "::ffff:0:a00:1": "private",
		"93.184.216.34": "the host's own", "64:ff9b::93.184.216.34": "the host's own", "fe80::1%eth0": "link-local",
	} {
		b, is := Special(netip.MustParseAddr(addr), own)
		if is != (what != "") || b.What != what {
			t.Errorf("%s: %q", addr, b.What)
		}
		if is && !b.Prefix.Contains(netip.MustParseAddr(addr).Unmap().WithZone("")) {
			t.Errorf("%s is not in %s", addr, b.Prefix)
		}
	}
}

// The host's addresses are asked for once in a while.
func TestRemembered(t *testing.T) {
	asked := 0
	own := Remembered(func() ([]netip.Addr, error) { asked++; return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil })
	for range 3 {
		if got, err := own(); err != nil || len(got) != 1 {
			t.Errorf("%v, %v", got, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
