// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"errors"
	"strings"
)

// Lines is an error whose text has several lines of its own, such as an excerpt of a
// file. Nobody else's text can begin a line of an error.
type Lines interface {
	error
	// Lines returns the text, without what others could have put into it to begin
	// a line.
	Lines() []string
}

// maxErrorLines bounds the lines of an error.
const maxErrorLines = 200

// Error returns the text of an error for a person. Errors that were joined have
// a line each, and so has what implements Lines. Other line ends are what
// somebody else has written, and become spaces: no line of the result is theirs.
func Error(err error) string {
	lines := errorLines(err, 0)
	if len(lines) > maxErrorLines {
		lines = append(lines[:maxErrorLines], "…")
	}
	for i, l := range lines {
		lines[i] = Line(l)
	}
	return Text(strings.Join(lines, "\n"))
}

// maxErrorDepth is how many errors within another are looked at.
const maxErrorDepth = 50

func errorLines(err error, depth int) []string {
	text := err.Error()
	if !strings.ContainsAny(text, "\n\r") || depth > maxErrorDepth {
		return []string{text}
	}
	if own, ok := err.(Lines); ok { //nolint:errorlint // its own lines, not those of one within
		return own.Lines()
	}
	switch wrapped := err.(type) { //nolint:errorlint // each level by itself
	case interface{ Unwrap() error }:
		inner := wrapped.Unwrap()
		if inner == nil {
			break
		}
		if head, ok := strings.CutSuffix(text, inner.Error()); ok {
			lines := errorLines(inner, depth+1)
			return append([]string{fold(head) + lines[0]}, lines[1:]...)
		}
	case interface{ Unwrap() []error }:
		if all := wrapped.Unwrap(); text == errors.Join(all...).Error() {
			var lines []string
			for _, e := range all {
				lines = append(lines, errorLines(e, depth+1)...)
			}
			return lines
		}
	}
	return []string{text}
}

func fold(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
