// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible makes untrusted text safe to show: escape sequences go, control
// characters and those that reorder text go, line ends become spaces. What is
// left is printable and on one line.
func visible(s string) string {
	var f filter
	var b strings.Builder
	for _, r := range s {
		switch out := f.next(r); out {
		case dropped:
		case '\n', '\r', '\t':
			b.WriteByte(' ')
		default:
			b.WriteRune(out)
		}
	}
	return b.String()
}

// dropped is what filter.next returns for a character that is not shown.
const dropped rune = -1

// filterState is where in an escape sequence a filter is.
type filterState int

const (
	inText   filterState = iota
	inEscape             // after ESC
	inShort              // after ESC and an intermediate byte
	inCSI                // after ESC [
	inString             // after ESC ], P, X, ^ or _: until BEL or ESC \
)

// maxSequence ends an escape sequence that never ends, so that it cannot
// swallow the rest of the output.
const maxSequence = 4096

// filter removes terminal control from a stream of characters. Its zero value
// is ready. It keeps tab, newline and carriage return.
type filter struct {
	state filterState
	count int
}

// next takes one character and returns what is to be shown of it.
func (f *filter) next(r rune) rune {
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
			return dropped
		}
		return f.brokenOff(r)
	case inString:
		return f.insideString(r)
	case inText:
	}
	return f.text(r)
}

func (f *filter) text(r rune) rune {
	switch {
	case r == 0x1b:
		f.state, f.count = inEscape, 0
		return dropped
	case r == 0x9b:
		f.state, f.count = inCSI, 0
		return dropped
	case r == 0x90 || r == 0x98 || r >= 0x9d && r <= 0x9f:
		f.state, f.count = inString, 0
		return dropped
	case r == '\n' || r == '\r' || r == '\t':
		return r
	case r == utf8.RuneError || unicode.IsControl(r):
		return shownControl(r)
	case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
		return dropped
	}
	return r
}

// shownControl keeps the mark of broken text and drops controls.
func shownControl(r rune) rune {
	if r == utf8.RuneError {
		return r
	}
	return dropped
}

func (f *filter) afterEscape(r rune) rune {
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
	return dropped
}

// brokenOff lets a line end or a new escape end a sequence, as terminals do
// with CAN; otherwise the character belongs to the sequence.
func (f *filter) brokenOff(r rune) rune {
	if r == 0x1b || r == '\n' || r == 0x18 || r == 0x1a {
		f.state = inText
		return f.text(r)
	}
	return dropped
}

func (f *filter) insideString(r rune) rune {
	switch r {
	case 0x07, 0x9c, 0x18, 0x1a:
		f.state = inText
	case 0x1b:
		f.state, f.count = inEscape, 0
	case '\n':
		f.state = inText
		return '\n'
	}
	return dropped
}
