// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"unicode"

	"golang.org/x/text/width"
)

// Width returns how many columns of a terminal a text takes at most that has
// been through the package's rule.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// Fit cuts s to so many columns, and marks what is cut.
func Fit(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	return Cut(s, columns-1) + "…"
}

// Cut returns the start of s that fits into so many columns.
func Cut(s string, columns int) string {
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > columns {
			return s[:i]
		}
	}
	return s
}

// runeWidth is how many columns a character takes at most: terminals differ
// about combining emoji.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	switch kind := width.LookupRune(r).Kind(); {
	case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
		return 2
	case r != emojiStyle && (unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r)):
		return 0
	}
	return 1
}
