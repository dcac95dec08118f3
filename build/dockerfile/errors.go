// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Error is what is wrong with a Dockerfile or with one of its steps. Its text
// is the position, the cause, an excerpt with the lines marked, and a hint.
type Error struct {
	// File is the Dockerfile's name as the caller gave it.
	File string
	// Line and EndLine are the first and last line concerned, from 1; 0 where
	// the error concerns the file as a whole.
	Line, EndLine int
	// Step is the instruction, on one line, when a step failed while running.
	Step string
	// Err is the cause.
	Err error
	// Hint is what to do about it, if anything can be said.
	Hint string
	// Excerpt is the source around the line, two lines before and after.
	Excerpt string
}

// Error implements error.
func (e *Error) Error() string { return strings.Join(e.Lines(), "\n") }

// Lines implements visible.Lines.
func (e *Error) Lines() []string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Step != "" {
		b.WriteString(e.Step + ": ")
	}
	b.WriteString(e.Err.Error())
	lines := []string{visible.Bounded(b.String(), MaxMessage)}
	if e.Hint != "" {
		lines = append(lines, "  hint: "+visible.Line(e.Hint))
	}
	if e.Excerpt != "" {
		lines = append(lines, strings.Split(strings.TrimRight(e.Excerpt, "\n"), "\n")...)
	}
	return lines
}

// Unwrap gives access to the cause.
func (e *Error) Unwrap() error { return e.Err }

const (
	excerptLines = 2
	excerptWidth = 120
	MaxMessage   = 600
)

// Fault makes an Error of err for the lines start to end of d.
func (d *File) Fault(loc []parser.Range, err error) *Error {
	e := &Error{File: d.name, Err: err, Hint: hint.Of(err)}
	if len(loc) == 0 {
		return e
	}
	e.Line, e.EndLine = loc[0].Start.Line, loc[len(loc)-1].End.Line
	e.Line = min(max(e.Line, 1), max(len(d.lines), 1))
	e.EndLine = min(max(e.EndLine, e.Line), max(len(d.lines), 1))
	e.Excerpt = excerpt(d.lines, e.Line, e.EndLine)
	return e
}

// excerpt shows lines start to end, marked, with their surroundings. Of a long
// instruction only the first lines are shown.
func excerpt(lines []string, start, end int) string {
	const most = 8
	shown := min(end, start+most-1)
	var b strings.Builder
	for n := max(1, start-excerptLines); n <= min(len(lines), shown+excerptLines); n++ {
		mark := "  "
		if n >= start && n <= shown {
			mark = "> "
		}
		if n == shown+1 && shown < end {
			fmt.Fprintf(&b, "  %5s |\n", "…")
			break
		}
		fmt.Fprintf(&b, "  %s%3d | %s\n", mark, n, visible.Bounded(lines[n-1], excerptWidth))
	}
	return b.String()
}
