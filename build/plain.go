// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"io"
	"time"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// PlainProgress writes one line for everything that happens, for logs and pipes:
//
//	#5 [2/7] RUN apt-get update
//	#5 0.314 Get:1 …
//	#5 DONE 2.1s
//	#6 [3/7] COPY --from=build . /src
//	#6 WAITING for stage build
//	#6 5.002 reading files: 1.2GB of 3.4GB
//	#6 DONE 12.0s
//	Built 7 steps in 14.4s (5 cached)
func PlainProgress(w io.Writer) Progress {
	return &plain{w: w, tally: tally{now: time.Now}, started: map[int]time.Time{}, said: map[int]time.Time{}}
}

type plain struct {
	tally
	w       io.Writer
	started map[int]time.Time
	// said is when a step last had a line.
	said map[int]time.Time
}

// quiet is how long a step may say nothing before its state is written.
const quiet = 5 * time.Second

func (p *plain) printf(format string, args ...any) {
	// Progress that cannot be written is no reason to stop a build.
	_, _ = fmt.Fprintf(p.w, format, args...)
}

// Start implements Progress.
func (p *plain) Start(s Vertex) {
	p.begin(s)
	now := p.now()
	p.started[s.ID], p.said[s.ID] = now, now
	p.printf("#%d %s\n", s.ID, title(s))
}

// title is "[build 2/7] RUN …".
func title(s Vertex) string {
	return fmt.Sprintf("[%s%d/%d] %s", s.Stage, s.Index, s.Total, s.Text)
}

// Line implements Progress.
func (p *plain) Line(s Vertex, line string) {
	now := p.now()
	p.said[s.ID] = now
	p.printf("#%d %.3f %s\n", s.ID, now.Sub(p.started[s.ID]).Seconds(), line)
}

// State implements Progress. The clock of a step that waited starts anew.
func (p *plain) State(s Vertex, state State) {
	switch now := p.now(); {
	case state.Waiting:
		p.printf("#%d WAITING for %s\n", s.ID, state.Text)
	case state.Text == "":
		p.started[s.ID], p.said[s.ID] = now, now
	case now.Sub(p.said[s.ID]) >= quiet:
		p.Line(s, state.String())
	}
}

// Done implements Progress.
func (p *plain) Done(s Vertex, o Outcome) {
	p.finish(o)
	delete(p.started, s.ID)
	delete(p.said, s.ID)
	switch {
	case o.Err != nil && o.Canceled:
		p.printf("#%d CANCELED\n", s.ID)
	case o.Err != nil:
		p.printf("#%d ERROR: %s\n", s.ID, visible.Bounded(o.Err.Error(), dockerfile.MaxMessage))
	case o.Cached:
		p.printf("#%d CACHED\n", s.ID)
	default:
		p.printf("#%d DONE %.1fs\n", s.ID, o.Elapsed.Seconds())
	}
}

// Warn implements Progress.
func (p *plain) Warn(message string) { p.printf("WARNING: %s\n", visible.Line(message)) }

// Close implements Progress. The caller shows the error.
func (p *plain) Close(err error) {
	if !p.began.IsZero() {
		p.printf("%s\n", p.result(err))
	}
}
