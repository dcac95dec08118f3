// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/event"
)

func TestRefusals(t *testing.T) {
	var r Refusals
	tell := func(w *strings.Builder) { TellRefusals(w, r.List(), "this step", "cpc build") }
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
	want := "cpc: the network did not let this step reach:\n  evil.org: no rule\n  192.0.2.1 port 25: no rule\n  a?[2J.org port 80: no rule\n"
	if got := out.String(); !strings.HasPrefix(got, want) || strings.Contains(got, "others") {
		t.Errorf("%q", got)
	}
	for i := range 2 * maxRefused {
		r.Note(event.Event{Kind: event.Packet, Verdict: event.Denied, Addr: netip.MustParseAddr("192.0.2.2"), Port: uint16(i + 1), Reason: fmt.Sprint(i)})
	}
	out.Reset()
	tell(&out)
	if got := strings.Count(out.String(), "\n"); got != maxRefused+3 {
		t.Errorf("%d lines: %q", got, out.String())
	}
}
