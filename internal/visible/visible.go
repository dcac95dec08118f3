// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package visible is the border between what others have written and a person's
// terminal. Images, registries, peers, Dockerfiles, file names, labels and
// sandboxes choose texts that cpc prints, in errors, tables, progress and events.
// A terminal obeys escape sequences in them, shows text that is reordered or
// hidden, and scrolls away what has no end.
//
// There is one rule, Filter's, for all of them:
//
//   - escape sequences go, whole, in their forms of seven and of eight bits;
//   - control characters go, and so do those that reorder, join, hide or tag text
//     (bidirectional controls, zero-width characters, fillers, variation selectors
//     beyond that for emoji);
//   - what is not UTF-8 becomes the replacement character;
//   - of the marks that are put on one character, a few are kept.
//
// Line is for a piece of text within a line, Text and Writer for whole texts, and
// JSON for documents, whose meaning stays the same. A program's own output, that
// of run, exec, attach and logs, does not come through here.
package visible

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLine is where Line ends a text, in characters.
const MaxLine = 1024

// Line returns s on one line of at most MaxLine characters. Line ends and tabs
// become spaces.
func Line(s string) string { return Bounded(s, MaxLine) }

// Bounded is Line with another bound; what is cut is marked.
func Bounded(s string, most int) string {
	if plain(s) && len(s) <= most {
		return s
	}
	var f Filter
	var b strings.Builder
	n := 0
	for i, r := range s {
		if r = f.Next(r); r == Dropped {
			continue
		}
		if n == most-1 && leaves(f, s[i:]) > 1 {
			b.WriteRune('…')
			break
		}
		n++
		if r == '\n' || r == '\r' || r == '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain reports whether there is nothing to do for a text that is short enough.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// leaves counts what a filter keeps of a text, up to 2. The first character has
// been through f already.
func leaves(f Filter, s string) int {
	n := 1
	_, size := utf8.DecodeRuneInString(s)
	for _, r := range s[size:] {
		if f.Next(r) != Dropped {
			if n++; n > 1 {
				break
			}
		}
	}
	return n
}

// MaxText is where Text ends a text, in bytes.
const MaxText = 16 << 10

// Text returns s with its line ends and tabs, of at most MaxText bytes.
func Text(s string) string {
	var f Filter
	var b strings.Builder
	for _, r := range s {
		if r = f.Next(r); r == Dropped || r == '\r' {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > MaxText {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}

// hidden reports whether a character is not seen, or changes how others are.
func hidden(r rune) bool {
	switch {
	case r < 0x80:
		return false
	case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector):
		return r != emojiStyle
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r): // fillers, joiners
		return true
	}
	return r == 0x2800 || unicode.Is(unicode.Noncharacter_Code_Point, r) // braille without dots
}

// emojiStyle asks for the coloured form of the character before it.
const emojiStyle = '\ufe0f'
