// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package step

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// gate is the network of one step, if that is an allowlist.
type gate struct {
	net *netns.Net // nil otherwise

	mu      sync.Mutex // guards what follows
	refused []string   // distinct, at most maxRefused
	more    bool
}

// maxRefused is how much of what was refused a person is told.
const maxRefused = 8

// openGate makes the step's network, which the caller closes.
func (s *Runner) openGate(id, mode string) (*gate, error) {
	g := &gate{}
	if mode != bundle.NetworkAllowlist {
		return g, nil
	}
	var err error
	g.net, err = s.network.Open(id, g.record)
	return g, err
}

func (g *gate) close() error {
	if g.net == nil {
		return nil
	}
	return g.net.Close()
}

// record notes what was refused. What a program tries beside the connection
// that it wants, such as SRV records, is left out.
func (g *gate) record(e event.Event) {
	asks := e.Kind == event.DNS && (e.Query == "A" || e.Query == "AAAA")
	if e.Verdict != event.Denied && e.Verdict != event.Failed || !asks && e.Kind != event.Connect && e.Kind != event.Packet || e.Count > 1 {
		return
	}
	what := e.Name
	if what == "" && e.Addr.IsValid() {
		what = e.Addr.String()
	}
	if what == "" {
		return
	}
	if e.Port != 0 {
		what = fmt.Sprintf("%s port %d", what, e.Port)
	}
	what = clean(fmt.Sprintf("%s: %s", what, e.Reason))
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case slices.Contains(g.refused, what):
	case len(g.refused) == maxRefused:
		g.more = true
	default:
		g.refused = append(g.refused, what)
	}
}

// clean keeps a step from writing to the person's terminal by way of names.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

// tell says what was refused to a step that failed: most likely that is why.
func (g *gate) tell(w io.Writer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.refused) == 0 || w == nil {
		return
	}
	var b strings.Builder
	b.WriteString("cpc: the network did not let this step reach:\n")
	for _, r := range g.refused {
		b.WriteString("  " + r + "\n")
	}
	if g.more {
		b.WriteString("  and others\n")
	}
	b.WriteString("To let a step out to more hosts: cpc build --egress @default --egress HOST[:PORT]\n")
	_, _ = io.WriteString(w, b.String())
}
