// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/address"
)

// TestFetches: ADD reaches what is public, but for what is denied or outside
// of a limit, and of what is not public only what a rule grants.
func TestFetches(t *testing.T) {
	rules, err := Spec{
		Allow: []string{"127.0.0.1:9000", "10.1.0.0/16:80", "0.0.0.0/0:443"},
		Deny:  []string{"evil.test", "203.0.113.0/24", "10.1.2.0/24"},
	}.Fetches()
	if err != nil {
		t.Fatal(err)
	}
	limited, err := Spec{Limits: []Spec{{Allow: []string{"in.test"}}}}.Fetches()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"any.test": true, "evil.test": false, "EVIL.test.": false, "203.0.113.5": false, "8.8.8.8": true, "a b": false} {
		if why := rules.Refuses(host, 80); (why == "") != want {
			t.Errorf("%s: %q", host, why)
		}
	}
	for host, want := range map[string]bool{"in.test": true, "out.test": false, "8.8.8.8": false} {
		if why := limited.Refuses(host, 80); (why == "") != want {
			t.Errorf("within a limit, %s: %q", host, why)
		}
	}
	if why := limited.Denies(netip.MustParseAddrPort("8.8.8.8:80")); why != "" {
		t.Errorf("an address of a name within the limit: %q", why)
	}
	for to, want := range map[string]bool{
		"127.0.0.1:9000": true, "127.0.0.1:9001": false, "10.1.0.1:80": true, "10.1.0.1:443": false, "10.1.2.1:80": false, "10.2.0.1:80": false, "192.168.0.1:443": false,
	} {
		ap := netip.MustParseAddrPort(to)
		b, special := address.Special(ap.Addr(), nil)
		if got := rules.Grants("x.test", ap, b); !special || got != want {
			t.Errorf("%s: granted %v", to, got)
		}
	}
}
