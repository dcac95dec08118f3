// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package step

import (
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// A step without an allowlist has no gate, and nobody need listen to one.
func TestGate(t *testing.T) {
	g, err := (&Runner{}).openGate("step", bundle.NetworkNone)
	if err != nil {
		t.Fatal(err)
	}
	g.refused.Note(event.Event{Kind: event.DNS, Verdict: event.Denied, Query: "A", Name: "evil.example", Reason: "no rule"})
	g.tell(nil)
	var out strings.Builder
	g.tell(&out)
	if !strings.Contains(out.String(), "did not let this step reach:\n  evil.example: no rule\n") {
		t.Errorf("%q", out.String())
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
}
