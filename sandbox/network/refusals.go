// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// Refusals collects what a network did not let reach, for the person who
// wonders why a program failed. It is safe for concurrent use; the zero value is
// ready.
type Refusals struct {
	mu   sync.Mutex // guards what follows
	seen []string   // distinct, at most maxRefused
	more bool
}

// maxRefused is how much of what was refused a person is told.
const maxRefused = 8

// Note takes an event down if it is of interest. What a program tries beside the
// connection that it wants, such as SRV records, is left out.
func (r *Refusals) Note(e event.Event) {
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
	what = fmt.Sprintf("%s: %s", what, e.Reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case slices.Contains(r.seen, what):
	case len(r.seen) == maxRefused:
		r.more = true
	default:
		r.seen = append(r.seen, what)
	}
}

// List returns what was refused, a line each, in names that a program chose.
func (r *Refusals) List() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.seen)
	if r.more {
		all = append(all, "and others")
	}
	return all
}

// TellRefusals says what was refused to a program that failed, since that is
// likely why: command is the one that would let it out.
func TellRefusals(w io.Writer, refused []string, who, command string) {
	if len(refused) == 0 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cpc: the network did not let %s reach:\n", who)
	for _, r := range refused {
		b.WriteString("  " + clean(r) + "\n")
	}
	fmt.Fprintf(&b, "To let it out to more hosts: %s --egress @default --egress HOST[:PORT]\n", command)
	_, _ = io.WriteString(w, b.String())
}

// clean keeps a program from writing to the person's terminal by way of names.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
