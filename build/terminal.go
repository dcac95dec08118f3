// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

const (
	// liveLines is how much output of a single running step is in view, of
	// several steps it is sharedLines each, and liveSteps are shown; tailLines
	// of a failed one are left on the screen.
	liveLines   = 6
	sharedLines = 2
	liveSteps   = 4
	tailLines   = 30
	// frame is the least time between two redraws.
	frame = 80 * time.Millisecond
)

// TerminalOptions are the options of TerminalProgress.
type TerminalOptions struct {
	// Size gives the terminal's rows and columns; it is asked before every redraw.
	Size func() (rows, columns int)
	// Color is false where NO_COLOR is set.
	Color bool
}

// TerminalProgress redraws the running steps and their latest output in place;
// steps that are done scroll up as one line each. It starts a goroutine that
// ends with Close.
func TerminalProgress(w io.Writer, o TerminalOptions) Progress {
	if o.Size == nil {
		o.Size = func() (int, int) { return 24, 80 }
	}
	t := &terminal{w: w, TerminalOptions: o, tally: tally{now: time.Now}, stop: make(chan struct{}), stopped: make(chan struct{})}
	go t.tick()
	return t
}

type terminal struct {
	TerminalOptions
	w       io.Writer
	stop    chan struct{}
	stopped chan struct{}

	mu sync.Mutex
	tally
	closed  bool
	running []*liveStep
	drawn   []int // the widths of the lines of the live view on the screen
	last    time.Time
}

// liveStep is a step that runs.
type liveStep struct {
	Vertex
	started time.Time
	state   State
	tail    []string
}

// find returns the running step of that id, or one that is not shown.
func (t *terminal) find(id int) *liveStep {
	for _, s := range t.running {
		if s.ID == id {
			return s
		}
	}
	return &liveStep{}
}

// tick redraws the clock of a silent step.
func (t *terminal) tick() {
	defer close(t.stopped)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			t.mu.Lock()
			if !t.began.IsZero() {
				t.draw("")
			}
			t.mu.Unlock()
		}
	}
}

// Start implements Progress.
func (t *terminal) Start(s Vertex) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(s)
	t.running = append(t.running, &liveStep{Vertex: s, started: t.now()})
	t.draw("")
}

// Line implements Progress.
func (t *terminal) Line(s Vertex, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := t.find(s.ID)
	if step.tail = append(step.tail, line); len(step.tail) > tailLines {
		step.tail = step.tail[1:]
	}
	if t.now().Sub(t.last) >= frame {
		t.draw("")
	}
}

// State implements Progress. The clock of a step that waited starts anew.
func (t *terminal) State(s Vertex, now State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := t.find(s.ID)
	if step.state.Waiting && !now.Waiting {
		step.started = t.now()
	}
	step.state = now
	if now.Waiting || t.now().Sub(t.last) >= frame {
		t.draw("")
	}
}

// Done implements Progress.
func (t *terminal) Done(s Vertex, o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finish(o)
	step := t.find(s.ID)
	t.running = slices.DeleteFunc(t.running, func(r *liveStep) bool { return r == step })
	mark, color, note := "done", "32", fmt.Sprintf("%.1fs", o.Elapsed.Seconds())
	switch {
	case o.Err != nil && o.Canceled:
		mark, color, note = "stop", "33", "CANCELED"
	case o.Err != nil:
		mark, color = "FAIL", "31"
	case o.Cached:
		mark, color, note = "same", "36", "CACHED"
	}
	_, width := t.size()
	var b strings.Builder
	b.WriteString(t.paint(color, mark) + " " + visible.Fit(title(s), width-len(mark)-len(note)-3) + "  " + note + "\n")
	if o.Err != nil && !o.Canceled {
		for _, line := range step.tail { // whole, as what is wrong may stand at the end
			b.WriteString(t.paint("2", "  | ") + line + "\n")
		}
	}
	t.draw(b.String())
}

// Warn implements Progress.
func (t *terminal) Warn(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(t.paint("33", "warning:") + " " + visible.Line(message) + "\n")
}

// Close implements Progress.
func (t *terminal) Close(err error) {
	close(t.stop)
	<-t.stopped
	t.mu.Lock()
	defer t.mu.Unlock()
	above := ""
	if !t.began.IsZero() {
		_, width := t.size()
		above = visible.Fit(t.result(err), width-1) + "\n"
	}
	t.running, t.closed = nil, true
	t.draw(above)
}

func (t *terminal) size() (rows, columns int) {
	rows, columns = t.Size()
	return max(rows, 4), max(columns, 20)
}

func (t *terminal) paint(code, s string) string {
	if !t.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// draw takes the live view off the screen, writes above for good, and draws the
// view again, all in one write so that it does not flicker.
func (t *terminal) draw(above string) {
	var b strings.Builder
	rows, width := t.size()
	if up := min(t.height(width), rows-1); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	if above != "" {
		b.WriteString("\x1b[J" + above)
	}
	t.drawn = t.drawn[:0]
	if !t.began.IsZero() && !t.closed {
		t.view(&b, rows, width)
	}
	b.WriteString("\x1b[J")
	t.last = t.now()
	// Progress that cannot be written is no reason to stop a build.
	_, _ = io.WriteString(t.w, b.String())
}

// view draws the header and the steps that run: those that work before those that
// wait. The cursor stands below the view, all of which has to be on the screen.
func (t *terminal) view(b *strings.Builder, rows, width int) {
	t.line(b, "1", visible.Fit(t.header(), width-1), "")
	slices.SortStableFunc(t.running, func(x, y *liveStep) int { return x.rank() - y.rank() })
	shown := min(len(t.running), liveSteps, rows-2)
	lines := liveLines
	if shown > 1 {
		lines = sharedLines
	}
	lines = min(lines, (rows-2-shown)/max(shown, 1))
	for _, step := range t.running[:shown] {
		if step.state.Waiting {
			note := visible.Fit(step.state.String(), width/2)
			t.line(b, "33", "wait ", visible.Fit(title(step.Vertex), width-visible.Width(note)-8)+"  "+note)
			continue
		}
		clock := fmt.Sprintf("%.1fs", t.now().Sub(step.started).Seconds())
		t.line(b, "1", " ->  ", visible.Fit(title(step.Vertex), width-len(clock)-8)+"  "+clock)
		tail := step.tail
		if step.state.Text != "" {
			tail = append(slices.Clone(tail), step.state.String())
		}
		for _, line := range tail[max(0, len(tail)-lines):] {
			t.line(b, "2", "  |  "+visible.Fit(line, width-6), "")
		}
	}
}

// rank orders steps in the view.
func (s *liveStep) rank() int {
	if s.state.Waiting {
		return 1
	}
	return 0
}

// line adds one line to the view, its beginning painted. What was there is
// written over, not cleared before: some terminals keep what is cleared.
func (t *terminal) line(b *strings.Builder, code, painted, plain string) {
	b.WriteString(t.paint(code, painted) + plain + "\x1b[K\n")
	t.drawn = append(t.drawn, visible.Width(painted+plain))
}

// height is how many rows the view takes on a terminal that is width columns
// wide by now: one that became narrower has wrapped what was too wide.
func (t *terminal) height(width int) int {
	n := 0
	for _, w := range t.drawn {
		n += max(1, (w+width-1)/width)
	}
	return n
}
