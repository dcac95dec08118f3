// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"time"
)

// tally counts the steps of a build for its output.
type tally struct {
	now                 func() time.Time
	began               time.Time
	done, cached, total int
}

func (t *tally) begin(s Vertex) {
	if t.began.IsZero() {
		t.began = t.now()
	}
	if t.total = s.All; s.All == 0 {
		t.total = s.Total
	}
}

func (t *tally) finish(o Outcome) {
	if o.Err == nil {
		t.done++
	}
	if o.Cached {
		t.cached++
	}
}

// header is "Building 12.3s (5/12 steps)".
func (t *tally) header() string {
	return fmt.Sprintf("Building %.1fs (%d/%d steps)", t.now().Sub(t.began).Seconds(), t.done, max(t.done, t.total))
}

// result is the last line.
func (t *tally) result(err error) string {
	after := t.now().Sub(t.began).Seconds()
	switch {
	case err != nil:
		return fmt.Sprintf("Stopped after %.1fs (%d/%d steps)", after, t.done, max(t.done, t.total))
	case t.cached > 0:
		return fmt.Sprintf("Built %s in %.1fs (%d cached)", plural(t.done, "step"), after, t.cached)
	}
	return fmt.Sprintf("Built %s in %.1fs", plural(t.done, "step"), after)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
