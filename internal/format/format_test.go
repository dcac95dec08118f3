// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

type state struct {
	Code    int
	Started time.Time
	Error   *string
}

type sandbox struct {
	ID     string `json:"Id"`
	State  state
	Health *state
	Labels map[string]string
	Args   []string
	Any    []any
	Nobody map[string]state
}

func (sandbox) Label(name string) string { return "label " + name }

func example() sandbox {
	return sandbox{
		ID: "a<b>&c", Args: []string{"x", "y"}, Any: []any{"x", 1}, Labels: map[string]string{"a": "1"},
		State: state{Code: 7, Started: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)},
	}
}

func TestApply(t *testing.T) {
	for text, want := range map[string]string{
		`{{.ID}} {{.Id}}`:                    "a<b>&c a<b>&c",
		`{{.State.Code}}`:                    "7",
		`{{.State.Started}}`:                 "2026-01-02T03:04:05.0000006Z",
		`{{$.State.Code}}`:                   "7",
		`{{(.State).Code}}`:                  "7",
		`{{.State.Error}}|`:                  "|",
		`{{.Health.Code}}|`:                  "|",
		`{{.Labels.a}}`:                      "1",
		`{{.Labels.none}}|`:                  "|",
		`{{.Label "x"}}`:                     "label x",
		`{{"x" | .Label}}`:                   "label x",
		`{{index .Args 1}}`:                  "y",
		`{{json .ID}}`:                       `"a<b>&c"`,
		`{{json .Args}}`:                     `["x","y"]`,
		`{{.ID | upper}}`:                    "A<B>&C",
		`{{title "one two"}}`:                "One Two",
		`{{lower "ABC"}}`:                    "abc",
		`{{println .ID}}`:                    "a<b>&c\n",
		`{{truncate .ID 3}}`:                 "a<b",
		`{{truncate .ID 99}}`:                "a<b>&c",
		`{{pad .ID 1 2}}|`:                   " a<b>&c  |",
		`{{join .Any "-"}}`:                  "x-1",
		`{{join .Health "-"}}`:               "",
		`{{join (split .ID "<") "-"}}`:       "a-b>&c",
		`{{if .Health}}yes{{else}}no{{end}}`: "no",
		`{{if eq .State.Code 7}}yes{{end}}`:  "yes",
		`{{if eq .Health.Code "healthy"}}yes{{else}}no{{end}}`:                "no",
		`{{range .Args}}{{.}},{{end}}`:                                        "x,y,",
		`{{range $k, $v := .Labels}}{{$k}}={{$v}}{{end}}`:                     "a=1",
		`{{range .Nobody}}{{.Code}}{{end}}|`:                                  "|",
		`{{with .State}}{{.Code}}{{end}}`:                                     "7",
		`{{$s := .State}}{{$s.Code}}`:                                         "7",
		`{{define "t"}}{{.Code}}{{end}}{{template "t" .State}}`:               "7",
		`{{printf "%d %s" .State.Code (index .Labels "a")}}`:                  "7 1",
		`{{if and .ID (not .Health) (gt .State.Code 1)}}{{len .Args}}{{end}}`: "2",
	} {
		tmpl, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, row := range []any{example(), new(example())} {
			if got, err := tmpl.Apply(row); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", text, got, err, want)
			}
		}
	}
}

// goWords are what only somebody who knows Go understands.
var goWords = regexp.MustCompile(`template:|executing|reflect|evaluate|nil|format\.|interface|struct|0x|map\[`)

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{{.Nosuch}}`:               "there is no field .Nosuch; it has Any, Args, Health, ID, Label, Labels, Nobody, State",
		`{{.State.Nosuch}}`:         "there is no field .State.Nosuch; .State has Code, Error, Started",
		`{{.Health.Nosuch}}`:        "there is no field .Health.Nosuch; .Health has Code, Error, Started",
		`{{$.State.Nosuch}}`:        "there is no field .State.Nosuch; .State has Code, Error, Started",
		`{{.ID.Nosuch}}`:            "there is no .ID.Nosuch: .ID is a text",
		`{{.Args.Nosuch}}`:          "there is no .Args.Nosuch: .Args is a list",
		`{{.State.Code.X}}`:         "there is no .State.Code.X: .State.Code is a number",
		`{{.Label}}`:                `.Label takes a value, as in {{.Label "VALUE"}}`,
		`{{.Label 1}}`:              ".Label takes a text",
		`{{.ID 1}}`:                 ".ID takes no value",
		`{{index .Args 9}}`:         "index: there is no such element",
		`{{eq .State 1}}`:           "eq: these two values cannot be compared",
		`{{len .State.Code}}`:       "len: only a text, a list or a map has a length",
		`{{upper .State}}`:          "upper: must be a text, not a group of fields",
		`{{join .ID ","}}`:          "join: must be a list, not a text",
		`{{range .ID}}{{end}}`:      "range is for lists and maps",
		`{{.ID`:                     "unclosed action",
		`{{if .ID}}`:                "unexpected EOF",
		`{{nosuch .ID}}`:            `function "nosuch" not defined; there are and, eq,`,
		`{{template "t"}}`:          `template "t" not defined`,
		`{{split .ID 1}}`:           "expected string; found 1",
		`{{truncate .ID .ID}}`:      "wrong type for value; expected int; got string",
		`{{pad .ID}}`:               "wrong number of args for pad: want 3 got 1",
		`{{slice .ID 3 99}}`:        "slice: there is no such element",
		`{{printf "%s" (.State.)}}`: "",
	} {
		err := Print(&bytes.Buffer{}, Options{Format: text}, nil, []sandbox{example()})
		if _, ok := errors.AsType[*Error](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
			continue
		}
		if goWords.MatchString(err.Error()) {
			t.Errorf("%s: %v, which is Go's", text, err)
		}
	}
	if err := Print(&bytes.Buffer{}, Options{Format: "{{.Nosuch}}"}, nil, []sandbox{}); err == nil {
		t.Error("a field that does not exist is not noticed where there are no rows")
	}
	if err := Print(&bytes.Buffer{}, Options{Format: "{{index .Args 1}}"}, nil, []sandbox{}); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

type row struct{ ID, Name, CreatedAt string }

func TestPrint(t *testing.T) {
	columns := []Column{{"SANDBOX ID", "{{.ID}}"}, {"BOTH", "{{.ID}}/{{.Name}}"}}
	rows := []row{{"1", "one", "x"}, {"22", "<two>", "y"}}
	for _, c := range []struct {
		name string
		o    Options
		rows []row
		want string
	}{
		{"table", Options{}, rows, "SANDBOX ID   BOTH\n1            1/one\n22           22/<two>\n"},
		{"empty table", Options{}, nil, "SANDBOX ID   BOTH\n"},
		{"just table", Options{Format: "table"}, rows[:1], "SANDBOX ID   BOTH\n1            1/one\n"},
		{"template", Options{Format: "{{.Name}}"}, rows, "one\n<two>\n"},
		{"escapes", Options{Format: `{{.ID}}\t{{.Name}}`}, rows, "1\tone\n22\t<two>\n"},
		{"own table", Options{Format: `table {{.Name}}\t{{.ID}}`}, rows, "NAME    SANDBOX ID\none     1\n<two>   22\n"},
		{"words", Options{Format: `table {{.CreatedAt}}`}, nil, "CREATED AT\n"},
		{"functions", Options{Format: `table {{upper .Name}}\t{{json .ID}}: {{truncate .CreatedAt 1}}`}, rows[:1], "NAME   SANDBOX ID: CREATED AT\nONE    \"1\": x\n"},
		{"condition", Options{Format: `table {{if .ID}}{{.Name}}\t{{end}}{{.ID}}`}, rows[:1], "NAME   SANDBOX ID\none    1\n"},
		{"hostile cells", Options{Format: `table {{.ID}}\t{{.Name}}`}, []row{{"a\tb\nc", "\x1b[2J", ""}}, "SANDBOX ID   NAME\na b c        \n"},
		{"json lines", Options{Format: "json"}, rows[1:], "{\"ID\":\"22\",\"Name\":\"<two>\",\"CreatedAt\":\"y\"}\n"},
		{"no json lines", Options{Format: "json"}, nil, ""},
		{"no json", Options{JSON: true}, nil, "[]\n"},
	} {
		var out bytes.Buffer
		if err := Print(&out, c.o, columns, c.rows); err != nil || out.String() != c.want {
			t.Errorf("%s: printed %q, %v, want %q", c.name, out.String(), err, c.want)
		}
	}
	var out bytes.Buffer
	var back []row
	if err := Print(&out, Options{JSON: true}, columns, rows); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 2 || back[1] != rows[1] {
		t.Errorf("--json: %v, %s", err, out.String())
	}
	if err := Print(&out, Options{Format: "table"}, nil, rows); err == nil {
		t.Error("a table without columns was printed")
	}
}

// FuzzTemplate: whatever a template is, it is answered in words.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.ID}}", "{{.State.Nosuch}}", "table {{.ID}}\t{{.Any}}", "{{range .Args}}{{.X}}{{end}}", "{{(index .Any 0).X}}", "{{$x := .State}}{{$x.Code}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 || strings.Contains(text, "range") || strings.Contains(text, "define") || strings.Contains(text, "block") {
			return // loops that last as long as the person wants
		}
		err := Print(&bytes.Buffer{}, Options{Format: text}, nil, []sandbox{example()})
		if err == nil {
			return
		}
		if _, ok := errors.AsType[*Error](err); !ok || strings.HasPrefix(err.Error(), "template:") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// Columns are aligned by what characters take on a terminal, and a cell begins
// no other.
func TestTable(t *testing.T) {
	var out strings.Builder
	rows := [][]string{{"NAME", "TAG"}, {"漢字漢字", "x"}, {"e\u0301e\u0301", "y\tz\nforged"}, {"one cell that is longer than the column"}, {"", ""}}
	if err := Table(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := "NAME       TAG\n漢字漢字   x\ne\u0301e\u0301         y z forged\none cell that is longer than the column\n           \n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// A value cannot begin a row of a list; the template can.
func TestRow(t *testing.T) {
	row := map[string]string{"A": "x\r\nforged"}
	for text, want := range map[string]string{
		"{{.A}} y":        "x  forged y",
		"{{.A}}\ny":       "x\r\nforged\ny",
		`{{.A}}{{"\n"}}y`: "x\r\nforged\ny",
		"{{println .A}}":  "x\r\nforged\n",
		"{{json .A}}":     `"x\r\nforged"`,
	} {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Row(row); got != want || err != nil {
			t.Errorf("%s: %q, want %q (%v)", text, got, want, err)
		}
	}
}
