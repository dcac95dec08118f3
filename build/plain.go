// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"io"
	"time"
)

// PlainProgress writes one line for everything that happens, for logs and pipes:
//
//	#5 [2/7] RUN apt-get update
//	#5 0.314 Get:1 …
//	#5 DONE 2.1s
func PlainProgress(w io.Writer) Progress {
	return &plain{w: w, now: time.Now, started: map[int]time.Time{}}
}

type plain struct {
	w       io.Writer
	now     func() time.Time
	started map[int]time.Time
}

func (p *plain) printf(format string, args ...any) {
	// Progress that cannot be written is no reason to stop a build.
	_, _ = fmt.Fprintf(p.w, format, args...)
}

// Start implements Progress.
func (p *plain) Start(s StepInfo) {
	p.started[s.ID] = p.now()
	p.printf("#%d %s\n", s.ID, title(s))
}

// title is "[build 2/7] RUN …".
func title(s StepInfo) string {
	return fmt.Sprintf("[%s%d/%d] %s", s.Stage, s.Index, s.Total, s.Text)
}

// Line implements Progress.
func (p *plain) Line(s StepInfo, line string) {
	p.printf("#%d %.3f %s\n", s.ID, p.now().Sub(p.started[s.ID]).Seconds(), line)
}

// Done implements Progress.
func (p *plain) Done(s StepInfo, o Outcome) {
	delete(p.started, s.ID)
	switch {
	case o.Err != nil && o.Canceled:
		p.printf("#%d CANCELED\n", s.ID)
	case o.Err != nil:
		p.printf("#%d ERROR: %s\n", s.ID, bounded(visible(o.Err.Error()), maxMessage))
	case o.Cached:
		p.printf("#%d CACHED\n", s.ID)
	default:
		p.printf("#%d DONE %.1fs\n", s.ID, o.Elapsed.Seconds())
	}
}

// Warn implements Progress.
func (p *plain) Warn(message string) { p.printf("WARNING: %s\n", visible(message)) }

// Close implements Progress. The caller shows the result.
func (p *plain) Close(error) {}
