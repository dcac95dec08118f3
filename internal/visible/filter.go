// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"unicode"
	"unicode/utf8"
)

// Dropped is what Filter.Next returns for a character that is not shown.
const Dropped rune = -1

// state is where in an escape sequence a filter is.
type state int

const (
	inText   state = iota
	inEscape       // after ESC
	inShort        // after ESC and an intermediate byte
	inCSI          // after ESC [
	inString       // after ESC ], P, X, ^ or _: until BEL or ESC \
)

const (
	// maxSequence ends an escape sequence that never ends, so that it cannot
	// swallow the rest of the output.
	maxSequence = 4096
	// maxMarks is how many marks one character may have. No language needs more;
	// hundreds of them cover the lines above.
	maxMarks = 6
)

// Filter applies the rule of the package to a stream of characters. Its zero
// value is ready. It keeps tab, newline and carriage return.
type Filter struct {
	state state
	count int // characters of the escape sequence
	marks int // on the last character
}

// Next takes one character and returns what is to be shown of it.
func (f *Filter) Next(r rune) rune {
	if f.state != inText {
		if f.count++; f.count > maxSequence {
			f.state, f.count = inText, 0
		}
	}
	switch f.state {
	case inEscape:
		return f.afterEscape(r)
	case inShort:
		if r >= 0x30 && r <= 0x7e {
			f.state = inText
		}
		return f.brokenOff(r)
	case inCSI:
		if r >= 0x40 && r <= 0x7e {
			f.state = inText
			return Dropped
		}
		return f.brokenOff(r)
	case inString:
		return f.insideString(r)
	case inText:
	}
	return f.text(r)
}

func (f *Filter) text(r rune) rune {
	switch {
	case r == 0x1b:
		f.state, f.count = inEscape, 0
		return Dropped
	case r == 0x9b:
		f.state, f.count = inCSI, 0
		return Dropped
	case r == 0x90 || r == 0x98 || r >= 0x9d && r <= 0x9f:
		f.state, f.count = inString, 0
		return Dropped
	case r == '\n' || r == '\r' || r == '\t':
		f.marks = 0
		return r
	case r == utf8.RuneError:
		f.marks = 0
		return r
	case unicode.IsControl(r) || hidden(r):
		return Dropped
	case unicode.In(r, unicode.Mn, unicode.Me):
		if f.marks++; f.marks > maxMarks {
			return Dropped
		}
		return r
	}
	f.marks = 0
	return r
}

func (f *Filter) afterEscape(r rune) rune {
	switch {
	case r == '[':
		f.state = inCSI
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		f.state = inString
	case r >= 0x20 && r <= 0x2f:
		f.state = inShort
	default:
		f.state = inText
		if r == 0x1b || r == '\n' || r == '\r' {
			return f.text(r)
		}
	}
	return Dropped
}

// brokenOff lets a line end or a new escape end a sequence, as terminals do
// with CAN; otherwise the character belongs to the sequence.
func (f *Filter) brokenOff(r rune) rune {
	if r == 0x1b || r == '\n' || r == 0x18 || r == 0x1a {
		f.state = inText
		return f.text(r)
	}
	return Dropped
}

func (f *Filter) insideString(r rune) rune {
	switch r {
	case 0x07, 0x9c, 0x18, 0x1a:
		f.state = inText
	case 0x1b:
		f.state, f.count = inEscape, 0
	case '\n':
		f.state = inText
		return '\n'
	}
	return Dropped
}
