// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	units "github.com/docker/go-units"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Vertex identifies a step in the output.
type Vertex struct {
	// ID counts the steps of the build; Index and Total those of the stage.
	ID, Index, Total int
	// All is how many steps the whole build has, as far as that is known.
	All int
	// Stage is the stage's name and a space, "" where there is only one.
	Stage string
	// Text is the instruction on one line; it is safe to show.
	Text string
}

// State is what a step that has been started does.
type State struct {
	// Waiting: it does nothing yet, as it needs what Text names.
	Waiting bool
	// Text says what it does beside running its command: "" is nothing.
	Text string
	// Done is how many bytes of Total it has read.
	Done, Total int64
}

// String is the state in words.
func (s State) String() string {
	switch {
	case s.Waiting:
		return "waiting for " + s.Text
	case s.Total > 0:
		return fmt.Sprintf("%s: %s of %s", s.Text, units.HumanSize(float64(s.Done)), units.HumanSize(float64(s.Total)))
	}
	return s.Text
}

// Outcome is how a step ended.
type Outcome struct {
	Cached bool
	Err    error
	// Canceled: it was given up because another step failed, or by the user.
	Canceled bool
	Elapsed  time.Duration
}

// Progress is told what a build does. Calls never overlap.
type Progress interface {
	Start(s Vertex)
	// Line is one line of a step's output, without its end; it is safe to
	// show: escape sequences and control characters are taken out.
	Line(s Vertex, line string)
	// State is called when what a step does changes.
	State(s Vertex, now State)
	Done(s Vertex, o Outcome)
	Warn(message string)
	// Close ends the output; err is the build's result.
	Close(err error)
}

// silent is Progress for nobody.
type silent struct{}

func (silent) Start(Vertex)         {}
func (silent) Line(Vertex, string)  {}
func (silent) State(Vertex, State)  {}
func (silent) Done(Vertex, Outcome) {}
func (silent) Warn(string)          {}
func (silent) Close(error)          {}

// maxLine is where a line without an end is cut.
const maxLine = 4096

// runOutput makes lines of what a command writes. Both of its streams go
// through one, so a lock keeps them apart.
type runOutput struct {
	mu       sync.Mutex
	progress Progress
	info     Vertex
	filter   visible.Filter
	line     []rune
	// partial is the start of a character whose rest has not come yet.
	partial []byte
	// returned: a carriage return came; what follows overwrites the line.
	returned bool
	// distrusted: a line said that a certificate is not trusted.
	distrusted bool
}

func newRunOutput(p Progress, info Vertex) *runOutput {
	return &runOutput{progress: p, info: info}
}

// Write implements io.Writer. It never fails.
func (o *runOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	data := p
	if len(o.partial) > 0 {
		data = append(o.partial, p...)
		o.partial = nil
	}
	for len(data) > 0 {
		if !utf8.FullRune(data) {
			o.partial = append([]byte(nil), data...)
			break
		}
		r, n := utf8.DecodeRune(data)
		data = data[n:]
		o.put(o.filter.Next(r))
	}
	return len(p), nil
}

func (o *runOutput) put(r rune) {
	switch r {
	case visible.Dropped:
		return
	case '\n':
		o.emit()
		return
	case '\r':
		o.returned = true
		return
	case '\t':
		r = ' '
	}
	if o.returned {
		o.line, o.returned = o.line[:0], false
	}
	o.line = append(o.line, r)
	if len(o.line) >= maxLine {
		o.emit()
	}
}

func (o *runOutput) emit() {
	line := string(o.line)
	o.distrusted = o.distrusted || distrusts(line)
	o.progress.Line(o.info, line)
	o.line, o.returned = o.line[:0], false
}

// flush shows what is left when the command has ended.
func (o *runOutput) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) > 0 {
		o.emit()
	}
}
