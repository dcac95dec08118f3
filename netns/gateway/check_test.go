// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

// TestCheckSaysWhatIsDone: for every target, Check and a connection agree, in
// what is done and why.
func TestCheckSaysWhatIsDone(t *testing.T) {
	port := server(t, echo)
	dial := func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		if !to.Addr().IsLoopback() {
			return nil, fmt.Errorf("%s was dialled", to)
		}
		return defaultDial(ctx, to)
	}
	rules := []string{
		fmt.Sprintf("a.test:%d", port), grant(port), "metadata.test:80/raw", "private.test:80/raw", "gone.test:80/raw",
		"nat64.test:80/raw", "hidden.test:80/raw", "10.0.0.0/8:80",
	}
	f := start(t, Options{Dial: dial}, rules...)
	next, err := f.pol.Load().With(nil, []string{"203.0.113.64/28"})
	if err != nil {
		t.Fatal(err)
	}
	f.pol.Store(next)
	for _, c := range []struct {
		host   string
		at     int // of the name
		port   uint16
		reason string // "" is allowed
	}{
		{"a.test", 0, port, ""},
		{"a.test", 0, 81, policy.ReasonPort},
		{"b.test", 1, 80, policy.ReasonNoRule},
		{"metadata.test", 2, 80, "cloud metadata"},
		{"hidden.test", 7, 80, "private"},
		{"nat64.test", 6, 80, policy.ReasonDeny},
		{"10.0.2.3", 0, 81, policy.ReasonPort},
		{"64:ff9b::a01:203", 0, 80, policy.ReasonNoRule},
		{"203.0.113.66", 0, 80, policy.ReasonDeny},
	} {
		h, err := policy.ParseHost(c.host)
		if err != nil {
			t.Fatal(err)
		}
		a := f.Check(t.Context(), h, c.port)
		if a.Allowed != (c.reason == "") || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("%s: %+v, want %q", c.host, a, c.reason)
		}
		at := netip.AddrPortFrom(h.Addr, c.port)
		if !h.IsAddr() {
			at = name(c.at, c.port)
		}
		if a.Allowed {
			_ = f.dialAddr(at).Close()
			f.event(event.Connect, event.Allowed)
			continue
		}
		if !f.isReset(at) {
			t.Errorf("%s is not refused, but Check says %+v", c.host, a)
		}
		if e := f.event(event.Connect, event.Denied); e.Reason != a.Reason {
			t.Errorf("%s: %q, but Check says %q", c.host, e.Reason, a.Reason)
		}
	}
	if a := f.Check(t.Context(), policy.Host{Name: "gone.test"}, 80); !a.Allowed || a.Problem != string(NoName) {
		t.Errorf("a name that does not resolve: %+v", a)
	}
	for _, s := range []string{"127.0.0.1", "::1", "localhost", "0.0.0.0", "::ffff:127.0.0.1"} {
		h, err := policy.ParseHost(s)
		if a := f.Check(t.Context(), h, port); err != nil || a.Allowed || !strings.Contains(a.Reason, "the sandbox itself") {
			t.Errorf("%s: %+v, %v", s, a, err)
		}
	}
	if a := f.Check(t.Context(), policy.Host{Addr: netip.MustParseAddr("198.18.9.9")}, 80); a.Allowed || a.Reason != noName {
		t.Errorf("%+v", a)
	}
}
