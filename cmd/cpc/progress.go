// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	units "github.com/docker/go-units"
	"golang.org/x/term"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// progress shows how transfers go on: a bar for each blob on a terminal, and
// elsewhere a line when one is done.
type progress struct {
	w     io.Writer
	quiet bool
	wide  func() (columns, rows int) // nil where bars are of no use

	mu    sync.Mutex // guards what follows, and the order of what is written
	blobs []*transfer
	drawn int // lines that the bars take
	last  time.Time
}

// transfer is one blob.
type transfer struct {
	id, state   string
	done, total int64
	final       bool
	since       time.Time // of the state
	told        bool      // of the state, in a line
}

func newProgress(f *os.File, quiet bool) *progress {
	p := &progress{w: f, quiet: quiet}
	if fd := int(f.Fd()); !quiet && term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		p.wide = func() (int, int) {
			columns, rows, err := term.GetSize(fd)
			if err != nil || columns < 20 || rows < 4 {
				return 80, 24
			}
			return columns, rows
		}
	}
	return p
}

// say prints a line, above the bars if there are any.
func (p *progress) say(line string) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.w, visible.Text(line))
	p.draw()
}

// warn is say for what is to be known, also when it is quiet.
func (p *progress) warn(line string) {
	if p.quiet {
		tellStderr(line)
		return
	}
	p.say(line)
}

// words are what docker says, by the event's action.
func words(action string) (text string, final bool) {
	switch action {
	case "download":
		return "Downloading", false
	case "resume":
		return "Resuming download", false
	case "upload":
		return "Pushing", false
	case "exists":
		return "Already exists", true
	case "done":
		return "Pull complete", true
	case "unpack":
		return "Unpacking", false
	case "unpacked":
		return "Unpacked", false
	case "sync":
		return "Writing to disk", false
	case "ready":
		return "Unpacked", true
	case "pushed":
		return "Pushed", true
	case "mounted":
		return "Mounted", true
	}
	return "", false
}

// event takes in one event of a transfer.
func (p *progress) event(e rootfs.Event) {
	text, final := words(e.Action)
	if p.quiet || text == "" || e.Digest == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.find(shortDigest(e.Digest.String()))
	if t.final && e.Action != "unpack" { // what was here as a blob may have to be unpacked
		return
	}
	if t.state != text {
		t.since, t.told = time.Now(), false
	}
	t.state, t.done, t.total, t.final = text, e.Done, e.Total, final
	const often = 80 * time.Millisecond
	switch {
	case p.wide == nil:
		p.tellPlain(t, e)
	case final || time.Since(p.last) >= often:
		p.last = time.Now()
		p.erase()
		p.draw()
	}
}

// tellPlain tells of an event without a terminal: of what has come to its end,
// and of what is not there within a second.
func (p *progress) tellPlain(t *transfer, e rootfs.Event) {
	switch {
	case t.final, e.Action == "resume":
		fmt.Fprintf(p.w, "%s: %s (%s)\n", t.id, t.state, units.HumanSize(float64(e.Done)))
	case !t.told && time.Since(t.since) >= quickly:
		t.told = true
		fmt.Fprintf(p.w, "%s: %s (%s)\n", t.id, t.state, units.HumanSize(float64(e.Total)))
	}
}

func (p *progress) find(id string) *transfer {
	for _, t := range p.blobs {
		if t.id == id {
			return t
		}
	}
	t := &transfer{id: id}
	p.blobs = append(p.blobs, t)
	return t
}

// end leaves the bars as they are, and starts anew below.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.draw()
	p.blobs, p.drawn = nil, 0
}

// erase takes the bars away.
func (p *progress) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// draw shows the bars: as many as the terminal has room for, the unfinished
// first.
func (p *progress) draw() {
	if p.wide == nil || len(p.blobs) == 0 {
		return
	}
	columns, rows := p.wide()
	show := p.blobs
	if most := rows - 2; len(show) > most {
		var open, closed []*transfer
		for _, t := range show {
			if t.final {
				closed = append(closed, t)
			} else {
				open = append(open, t)
			}
		}
		show = append(open, closed...)[:most]
	}
	var b strings.Builder
	for _, t := range show {
		b.WriteString(t.line(columns-1) + "\n")
	}
	fmt.Fprint(p.w, b.String())
	p.drawn = len(show)
}

// line shows one transfer in that many columns.
func (t *transfer) line(columns int) string {
	text := t.id + ": " + t.state
	if !t.final && t.total > 0 {
		numbers := fmt.Sprintf(" %s/%s", units.HumanSize(float64(t.done)), units.HumanSize(float64(t.total)))
		if width := columns - len(text) - len(numbers) - 3; width >= 10 && t.done < t.total {
			width = min(width, 50)
			n := int(min(t.done, t.total) * int64(width) / t.total)
			bar := strings.Repeat("=", n)
			if n < width {
				bar += ">" + strings.Repeat(" ", width-n-1)
			}
			text += " [" + bar + "]"
		}
		text += numbers
	}
	if len(text) > columns {
		text = text[:columns]
	}
	return text
}
