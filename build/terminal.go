// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// liveLines is how much output of the current step is in view, tailLines
	// how much of a failed one is left on the screen.
	liveLines = 6
	tailLines = 30
	// frame is the least time between two redraws.
	frame = 80 * time.Millisecond
)

// TerminalOptions are the options of TerminalProgress.
type TerminalOptions struct {
	// Width gives the terminal's columns; it is asked before every redraw.
	Width func() int
	// Color is false where NO_COLOR is set.
	Color bool
}

// TerminalProgress redraws the current step and its latest output in place;
// steps that are done scroll up as one line each. It starts a goroutine that
// ends with Close.
func TerminalProgress(w io.Writer, o TerminalOptions) Progress {
	if o.Width == nil {
		o.Width = func() int { return 80 }
	}
	t := &terminal{w: w, TerminalOptions: o, now: time.Now, stop: make(chan struct{}), stopped: make(chan struct{})}
	go t.tick()
	return t
}

type terminal struct {
	TerminalOptions
	w       io.Writer
	now     func() time.Time
	stop    chan struct{}
	stopped chan struct{}

	mu      sync.Mutex
	current *StepInfo
	started time.Time
	tail    []string
	drawn   int // lines of the live view on the screen
	last    time.Time
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
			if t.current != nil {
				t.draw("")
			}
			t.mu.Unlock()
		}
	}
}

// Start implements Progress.
func (t *terminal) Start(s StepInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current, t.started, t.tail = &s, t.now(), nil
	t.draw("")
}

// Line implements Progress.
func (t *terminal) Line(_ StepInfo, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail = append(t.tail, line); len(t.tail) > tailLines {
		t.tail = t.tail[1:]
	}
	if t.now().Sub(t.last) >= frame {
		t.draw("")
	}
}

// Done implements Progress.
func (t *terminal) Done(s StepInfo, o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = nil
	mark, color, note := "done", "32", fmt.Sprintf("%.1fs", o.Elapsed.Seconds())
	switch {
	case o.Err != nil:
		mark, color = "FAIL", "31"
	case o.Cached:
		mark, color, note = "same", "36", "CACHED"
	}
	width := t.columns()
	var b strings.Builder
	b.WriteString(t.paint(color, mark) + " " + fit(title(s), width-len(mark)-len(note)-3) + "  " + note + "\n")
	if o.Err != nil {
		for _, line := range t.tail {
			b.WriteString(t.paint("2", "  | ") + fit(line, width-5) + "\n")
		}
	}
	t.draw(b.String())
}

// Warn implements Progress.
func (t *terminal) Warn(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(t.paint("33", "warning:") + " " + visible(message) + "\n")
}

// Close implements Progress.
func (t *terminal) Close(error) {
	close(t.stop)
	<-t.stopped
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = nil
	t.draw("")
}

func (t *terminal) columns() int { return max(t.Width(), 20) }

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
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	b.WriteString("\r\x1b[J" + above)
	t.drawn = 0
	if t.current != nil {
		width := t.columns()
		clock := fmt.Sprintf("%.1fs", t.now().Sub(t.started).Seconds())
		b.WriteString(t.paint("1", " ->  ") + fit(title(*t.current), width-len(clock)-8) + "  " + clock + "\n")
		t.drawn = 1
		for _, line := range t.tail[max(0, len(t.tail)-liveLines):] {
			b.WriteString(t.paint("2", "  |  "+fit(line, width-6)) + "\n")
			t.drawn++
		}
	}
	t.last = t.now()
	// Progress that cannot be written is no reason to stop a build.
	_, _ = io.WriteString(t.w, b.String())
}

// fit cuts s to width columns.
func fit(s string, width int) string {
	used := 0
	for i, r := range s {
		n := runeWidth(r)
		if used+n > width {
			return cut(s[:i], width-1) + "…"
		}
		used += n
	}
	return s
}

// cut drops characters from the end until s takes at most width columns.
func cut(s string, width int) string {
	used := 0
	for i, r := range s {
		if used += runeWidth(r); used > width {
			return s[:i]
		}
	}
	return s
}

// wide are the scripts and symbols that take two columns on a terminal.
func wide(r rune) bool {
	return r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
		r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd
}

func runeWidth(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		return 0
	case wide(r):
		return 2
	}
	return 1
}
