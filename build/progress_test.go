// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"two\nlines\tand\rmore":      "two lines and more",
		"\x1b[31mred\x1b[0m":         "red",
		"\x1b]0;title\x07after":      "after",
		"\x1b]8;;http://x\x1b\\link": "link",
		"\x1bP1$tx\x1b\\dcs":         "dcs",
		"\x1b(Bcharset":              "charset",
		"\x1bcreset":                 "reset",
		"\u009b2Jc1":                 "c1",
		"a\x00b\x7fc\x08d":           "abcd",
		"bad\xffutf8":                "bad\ufffdutf8",
		"\u202eoverride\u2066":       "override",
		"zero\u200bwidth":            "zerowidth",
		"\x1b]unfinished":            "",
		"\x1b]ended\nby a line":      " by a line",
		"wide 漢字 é":                  "wide 漢字 é",
	} {
		if got := visible.Line(in); got != want {
			t.Errorf("visible.Line(%q) = %q, want %q", in, got, want)
		}
	}
}

// record is Progress that keeps the lines.
type record struct {
	silent
	lines []string
}

func (r *record) Line(_ Vertex, line string) { r.lines = append(r.lines, line) }

func TestStepOutput(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\n":                       "a|b",
		"no end":                       "no end",
		"10%\r20%\r30%\n":              "30%",
		"crlf\r\n":                     "crlf",
		"\r\r\n\n":                     "|",
		"é split":                      "é split",
		strings.Repeat("x", maxLine+1): strings.Repeat("x", maxLine) + "|x",
	} {
		for _, size := range []int{1, 3, len(in)} {
			var r record
			out := newRunOutput(&r, Vertex{})
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				if wrote, err := out.Write(rest[:n]); wrote != n || err != nil {
					t.Fatal(wrote, err)
				}
				rest = rest[n:]
			}
			out.flush()
			if got := strings.Join(r.lines, "|"); got != want {
				t.Errorf("%.20q in pieces of %d: got %.40q, want %.40q", in, size, got, want)
			}
		}
	}
}

func TestPlainProgress(t *testing.T) {
	var buf bytes.Buffer
	p := &plain{w: &buf, tally: tally{now: clock()}, started: map[int]time.Time{}, said: map[int]time.Time{}}
	s := Vertex{ID: 5, Stage: "build ", Index: 2, Total: 7, All: 9, Text: "RUN apt-get update"}
	p.Start(s)
	p.Line(s, "Get:1")
	p.Done(s, Outcome{Elapsed: 2100 * time.Millisecond})
	s.ID, s.Index = 6, 3
	p.Start(s)
	p.Done(s, Outcome{Cached: true})
	p.Warn("careful\x1b[31m")
	p.Done(s, Outcome{Err: &ExitError{Code: 3}})
	p.Close(errors.New("exit code: 3"))
	want := `#5 [build 2/7] RUN apt-get update
#5 0.100 Get:1
#5 DONE 2.1s
#6 [build 3/7] RUN apt-get update
#6 CACHED
WARNING: careful
#6 ERROR: exit code: 3
Stopped after 0.4s (2/9 steps)
`
	if buf.String() != want {
		t.Errorf("got\n%s\nwant\n%s", buf.String(), want)
	}
}

// seconds is a time in the output.
var seconds = regexp.MustCompile(`[0-9]+\.[0-9]s`)

// clock ticks a tenth of a second each time it is read.
func clock() func() time.Time {
	at := time.Unix(0, 0)
	return func() time.Time {
		at = at.Add(100 * time.Millisecond)
		return at
	}
}

// screen is what a terminal shows after the output, for the sequences that
// terminal.go uses: cursor up, clear to the end of line or screen, carriage return.
func screen(t *testing.T, out string, width int) []string {
	t.Helper()
	up := regexp.MustCompile(`^\x1b\[(\d+)A`)
	lines, row, col := [][]rune{nil}, 0, 0
	for out != "" {
		switch {
		case up.MatchString(out):
			m := up.FindStringSubmatch(out)
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			row, out = max(0, row-n), out[len(m[0]):]
		case strings.HasPrefix(out, "\x1b[J"):
			lines[row], lines, out = lines[row][:col], lines[:row+1], out[3:]
		case strings.HasPrefix(out, "\x1b[K"):
			lines[row], out = lines[row][:col], out[3:]
		case out[0] == '\r':
			col, out = 0, out[1:]
		case out[0] == '\n':
			row, col, out = row+1, 0, out[1:]
			if row == len(lines) {
				lines = append(lines, nil)
			}
		default:
			r, n := utf8.DecodeRuneInString(out)
			if unicode.IsControl(r) {
				t.Fatalf("control character %q", out[:n])
			}
			lines[row], col, out = append(lines[row][:col], append([]rune{r}, lines[row][min(col+1, len(lines[row])):]...)...), col+1, out[n:]
		}
	}
	var shown []string
	for _, l := range lines {
		if w := visible.Width(string(l)); w > width {
			t.Errorf("line of %d columns on a terminal of %d: %q", w, width, string(l))
		}
		shown = append(shown, string(l))
	}
	return shown
}

func TestTerminalProgress(t *testing.T) {
	for _, width := range []int{20, 40, 200} {
		var buf bytes.Buffer
		p := TerminalProgress(&buf, TerminalOptions{Size: func() (int, int) { return 24, width }})
		s := Vertex{ID: 1, Index: 1, Total: 2, All: 3, Text: "RUN " + strings.Repeat("漢", 60)}
		p.Start(s)
		for range 20 {
			p.Line(s, strings.Repeat("output é ", 30))
		}
		p.Done(s, Outcome{Elapsed: time.Second})
		s.Index = 2
		p.Start(s)
		p.Line(s, "the last words")
		p.Warn("careful")
		p.Done(s, Outcome{Err: errors.New("exit code: 1")})
		p.Close(errors.New("exit code: 1"))
		lines := screen(t, buf.String(), width)
		if len(lines) != 6 || !strings.HasPrefix(lines[0], "done [1/2] RU") || lines[1] != "warning: careful" ||
			!strings.HasPrefix(lines[2], "FAIL [2/2]") || !strings.Contains(lines[3], "the last") || !strings.HasPrefix(lines[4], "Stopped after ") || lines[5] != "" {
			t.Errorf("width %d: got %q", width, lines)
		}
	}
}

// The view is never higher than the terminal, or it could not be taken off again;
// nor is less taken off than a terminal that became narrower made of it.
func TestTerminalSmall(t *testing.T) {
	var buf bytes.Buffer
	rows, columns := 6, 80
	p := &terminal{w: &buf, tally: tally{now: clock()}, TerminalOptions: TerminalOptions{Size: func() (int, int) { return rows, columns }}}
	up := regexp.MustCompile(`\x1b\[(\d+)A`)
	drawn := func() (lines int, ups []string) {
		out := buf.String()
		last := strings.LastIndex(out, "\r")
		return strings.Count(out[last:], "\n"), up.FindStringSubmatch(out[strings.LastIndex(out[:last], "\x1b[J")+1:])
	}
	for i := range 7 {
		s := Vertex{ID: i, Index: i, Total: 7, Text: strings.Repeat("x", 200)}
		p.Start(s)
		for range 9 {
			p.Line(s, strings.Repeat("y", 200))
		}
		p.Start(Vertex{ID: 100 + i})
		if lines, _ := drawn(); lines > rows-1 {
			t.Fatalf("%d lines with %d steps on a terminal of %d", lines, 2*i+2, rows)
		}
		p.Done(Vertex{ID: 100 + i}, Outcome{})
	}
	rows = 50
	p.Start(Vertex{ID: 50})
	before, _ := drawn()
	columns = 40
	p.Start(Vertex{ID: 51})
	if _, ups := drawn(); len(ups) != 2 || ups[1] != strconv.Itoa(2*before-1) {
		t.Errorf("%d lines of 80 columns, but for the header, were taken off by %q", before, ups)
	}
}

// What is wrong is often said at the end of a long line.
func TestTerminalFailure(t *testing.T) {
	var buf bytes.Buffer
	p := TerminalProgress(&buf, TerminalOptions{Size: func() (int, int) { return 24, 40 }})
	p.Start(Vertex{ID: 1})
	p.Line(Vertex{ID: 1}, strings.Repeat("long ", 40)+"cause")
	p.Done(Vertex{ID: 1}, Outcome{Err: errors.New("exit code: 1")})
	p.Close(nil)
	if !strings.Contains(buf.String(), "long cause\n") {
		t.Errorf("got %q", buf.String())
	}
}

func TestTerminalColor(t *testing.T) {
	var buf bytes.Buffer
	p := TerminalProgress(&buf, TerminalOptions{Color: true})
	p.Done(Vertex{}, Outcome{Cached: true})
	p.Close(nil)
	if !strings.Contains(buf.String(), "\x1b[36msame\x1b[0m") {
		t.Errorf("no colour in %q", buf.String())
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\r\n\x1b]0;x\x07\xff\u202e"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r record
		out := newRunOutput(&r, Vertex{})
		if _, err := out.Write(data); err != nil {
			t.Fatal(err)
		}
		out.flush()
		for _, line := range append(r.lines, visible.Line(string(data))) {
			for _, c := range line {
				if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
					t.Errorf("%q in the output of %q", c, data)
				}
			}
		}
	})
}
