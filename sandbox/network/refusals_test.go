// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
)

func TestRefusals(t *testing.T) {
	var r Refusals
	tell := func(w *strings.Builder) {
		TellRefusals(w, r.List(), Hint{Who: "this step", Command: "cpc build", Asked: []string{"--egress @default"}})
	}
	var out strings.Builder
	tell(&out)
	if out.Len() != 0 {
		t.Errorf("nothing was refused: %q", out.String())
	}
	for range 2 {
		r.Note(event.Event{Kind: event.DNS, Verdict: event.Denied, Query: "A", Name: "evil.org", Reason: "no rule"})
	}
	r.Note(event.Event{Kind: event.DNS, Verdict: event.Denied, Query: "SRV", Name: "_http._tcp.deb.debian.org", Reason: "no rule"})
	r.Note(event.Event{Kind: event.Connect, Verdict: event.Allowed, Name: "good.org", Port: 443})
	r.Note(event.Event{Kind: event.Packet, Verdict: event.Denied, Addr: netip.MustParseAddr("192.0.2.1"), Port: 25, Reason: "no rule"})
	r.Note(event.Event{Kind: event.Connect, Verdict: event.Denied, Name: "a\x1b[2J.org", Port: 80, Reason: "no rule"})
	tell(&out)
	want := "cpc: the network did not let this step reach:\n  evil.org: no rule\n  192.0.2.1 port 25: no rule\n  a.org port 80: no rule\n"
	if got := out.String(); !strings.HasPrefix(got, want) || strings.Contains(got, "others") {
		t.Errorf("%q", got)
	}
	for i := range 2 * maxRefused {
		r.Note(event.Event{Kind: event.Packet, Verdict: event.Denied, Addr: netip.MustParseAddr("192.0.2.2"), Port: uint16(i + 1), Reason: fmt.Sprint(i)})
	}
	out.Reset()
	tell(&out)
	if got := strings.Count(out.String(), "\n"); got != maxRefused+2 {
		t.Errorf("%d lines: %q", got, out.String())
	}
}

// TestFailuresAreNoRefusals: what was allowed and could not be reached, such as a name
// that does not resolve, is not said to be refused, and no rule is named for it.
func TestFailuresAreNoRefusals(t *testing.T) {
	var r Refusals
	r.Note(event.Event{Kind: event.DNS, Query: "A", Verdict: event.Failed, Name: "gone.debian.org", Reason: "the name does not resolve"})
	var out strings.Builder
	hint := Hint{Who: "the sandbox", Command: "cpc net allow work", Adds: true}
	TellRefusals(&out, r.List(), hint)
	if got, want := out.String(), "cpc: allowed, but could not be reached by the sandbox:\n  gone.debian.org: the name does not resolve\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.Note(event.Event{Kind: event.DNS, Query: "A", Verdict: event.Denied, Name: "api.anthropic.com", Reason: policy.ReasonNoRule})
	out.Reset()
	TellRefusals(&out, r.List(), hint)
	refused, failed, _ := strings.Cut(out.String(), "allowed, but")
	if strings.Contains(refused, "gone.debian.org") || !strings.Contains(refused, "did not let the sandbox reach:\n  api.anthropic.com") ||
		!strings.HasSuffix(failed, "To let it out to more hosts: cpc net allow work @anthropic\n") {
		t.Errorf("%q", out.String())
	}
}

// TestHintMends: the hint's rules, added to those that were given, let out to
// what was refused, and nothing is said that does not.
func TestHintMends(t *testing.T) {
	const given = "--egress 'my.test' --egress-file p.toml"
	for _, c := range []struct {
		e    event.Event
		want string // of the last line
	}{
		{event.Event{Kind: event.DNS, Query: "A", Name: "api.anthropic.com", Reason: policy.ReasonNoRule}, "cpc run " + given + " --egress @anthropic"},
		{event.Event{Kind: event.DNS, Query: "AAAA", Name: "GitHub.com.", Reason: policy.ReasonNoRule}, "cpc run " + given + " --egress @github"},
		{event.Event{Kind: event.DNS, Query: "A", Name: "nobody.example", Reason: policy.ReasonNoRule}, "cpc run " + given + " --egress nobody.example"},
		{event.Event{Kind: event.Packet, Name: "my.test", Port: 2222, Reason: policy.ReasonPort}, "cpc run " + given + " --egress my.test:2222"},
		{event.Event{Kind: event.Packet, Addr: netip.MustParseAddr("192.0.2.1"), Port: 25, Reason: "not an address of an allowed name"}, "cpc run " + given + " --egress 192.0.2.1:25"},
		{event.Event{Kind: event.Packet, Addr: netip.MustParseAddr("2001:db8::1"), Port: 25, Reason: policy.ReasonNoRule}, "cpc run " + given + " --egress [2001:db8::1]:25"},
		{event.Event{Kind: event.Connect, Name: "my.test", Port: 443, Reason: "address 10.1.2.3 is private, and no rule grants it"}, "cpc run " + given + " --egress 10.1.2.3:443"},
		{event.Event{Kind: event.Connect, Name: "my.test", Port: 443, Reason: "not TLS"}, "cpc run " + given + " --egress my.test:443/raw"},
		{event.Event{Kind: event.Connect, Name: "evil.test", Port: 443, Reason: policy.ReasonDeny, Rule: "*.evil.test"}, "take *.evil.test out"},
		{event.Event{Kind: event.Connect, Name: "evil.test", Port: 443, Reason: policy.ReasonLimit}, "A limit in config.toml"},
		{event.Event{Kind: event.Packet, Addr: netip.MustParseAddr("192.0.2.1"), Port: 53, Reason: "only TCP leaves a sandbox"}, "Only TCP leaves"},
		{event.Event{Kind: event.Connect, Name: "my.test", Port: 443, Verdict: event.Failed, Reason: "connection refused"}, "my.test port 443: connection refused"},
		{event.Event{Kind: event.DNS, Query: "A", Name: "$(id).test", Reason: policy.ReasonNoRule}, "$(id).test: " + policy.ReasonNoRule},
	} {
		if c.e.Verdict == "" {
			c.e.Verdict = event.Denied
		}
		var r Refusals
		r.Note(c.e)
		var out strings.Builder
		TellRefusals(&out, r.List(), Hint{Who: "the sandbox", Command: "cpc run", Asked: []string{"--egress 'my.test'", "--egress-file p.toml"}})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, c.want) {
			t.Errorf("%+v: %q, want %q", c.e, out.String(), c.want)
		}
	}
}
