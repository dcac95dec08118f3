// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/golden"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// TestPlan: what the kernel is told, in full.
func TestPlan(t *testing.T) {
	for name, p := range map[string]Plan{"both": newPlan(true, false), "ipv4": newPlan(false, false), "learn": newPlan(true, true)} {
		golden.Text(t, "plan-"+name+".txt", p.String())
		for _, c := range p.ruleset().chains {
			for _, r := range c.rules {
				if len(r.code) == 0 || strings.Contains(r.text, "invalid") {
					t.Errorf("%s: rule %q says nothing to the kernel", name, r.text)
				}
			}
		}
	}
}

func TestRangeRules(t *testing.T) {
	p, err := policy.New([]string{"10.0.0.0/8:80,81", "[fd00::/8]:80", "a.test:80", "10.0.0.0/8:80/raw"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range newPlan(false, false).rangeRules(p) {
		got = append(got, r.text)
	}
	want := "meta l4proto tcp ip daddr 10.0.0.0/8 th dport 80 dnat ip to 198.18.0.1:4096|" +
		"meta l4proto tcp ip daddr 10.0.0.0/8 th dport 81 dnat ip to 198.18.0.1:4096"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
	if n := len(newPlan(true, false).rangeRules(p)); n != 3 {
		t.Errorf("%d rules with IPv6", n)
	}
}

// TestPool: an address of a name is never one of the veth's.
func TestPool(t *testing.T) {
	p := newPlan(true, false)
	for _, f := range p.families() {
		for _, a := range f {
			in := p.Pool4.Contains(a.Addr()) && a.Addr().As4()[2] != 0 || p.Pool6.Contains(a.Addr())
			if in || !netip.MustParsePrefix(link4).Contains(a.Addr()) && !netip.MustParsePrefix(link6).Contains(a.Addr()) {
				t.Errorf("%s", a)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	p := newPlan(true, false)
	var add []AddHost
	for _, s := range []string{"DB.test:10.0.0.1", "six.test=[fd00::1]", "six2.test:fd00::2"} {
		a, err := ParseAddHost(s)
		if err != nil {
			t.Fatal(err)
		}
		add = append(add, a)
	}
	hosts := p.Hosts("box", add)
	for _, line := range []string{"10.0.0.1\tdb.test\n", "fd00::1\tsix.test\n", "fd00::2\tsix2.test\n", "198.18.0.2\tbox\n", "127.0.0.1\tlocalhost\n"} {
		if !strings.Contains(hosts, line) {
			t.Errorf("%q is not in %q", line, hosts)
		}
	}
	for _, s := range []string{"", "a", "a:", "a:b", "a:host-gateway", "1.2.3.4:1.2.3.4", "a b:1.2.3.4", "a\n:1.2.3.4", "a:fe80::1%eth0"} {
		if a, err := ParseAddHost(s); err == nil {
			t.Errorf("%q: %v", s, a)
		}
	}
	got, err := p.ResolvConf([]string{".", "Corp.test"}, []string{"ndots:2", "rotate"})
	if err != nil || got != "nameserver 198.18.0.1\nsearch corp.test\noptions ndots:2 rotate\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := p.ResolvConf([]string{"a\nnameserver 8.8.8.8"}, nil); err == nil {
		t.Error("a search domain of two lines")
	}
	for _, bad := range []string{"", "a b", "ndots:", "ndots:x", "ndots:1\nnameserver 8.8.8.8", "NDOTS:1", "a:1:2"} {
		if got, err := p.ResolvConf(nil, []string{bad}); err == nil {
			t.Errorf("resolver option %q: %q", bad, got)
		}
	}
}

func TestSmallest(t *testing.T) {
	addr := netip.MustParseAddr
	got := Smallest([]event.Event{
		{Kind: event.Connect, Name: "b.test", Port: 443},
		{Kind: event.Connect, Name: "b.test", Port: 80},
		{Kind: event.Connect, Name: "b.test", Port: 80},
		{Kind: event.DNS, Name: "c.test"},
		{Kind: event.Connect, Addr: addr("1.2.3.4"), Port: 5},
		{Kind: event.Connect, Addr: addr("fd00::1"), Port: 5},
		{Kind: event.Connect, Reason: "too many", Count: 9},
	})
	if strings.Join(got, " ") != "1.2.3.4:5 [fd00::1]:5 b.test:80,443" {
		t.Errorf("%q", got)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x00\x51"))
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 0, 17, 0}, make([]byte, 40)...))
	f.Add([]byte{0x4f})
	f.Add(append([]byte("\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parsePacket(b)
		if ok && (!p.src.Addr().IsValid() || !p.dst.Addr().IsValid() || p.proto == "") {
			t.Fatalf("%x: %+v", b, p)
		}
		if p.syn == nil {
			return
		}
		sent := withChecksum(p.syn)
		if again, ok := parsePacket(sent); !ok || again.src != p.src || again.dst != p.dst || !bytes.Equal(again.syn, withChecksum(sent)) {
			t.Fatalf("%x is sent as %x", b, sent)
		}
	})
}
