// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Options say how rows are printed. The zero value is the default table.
type Options struct {
	Format string // "", "json", "table", "table TEMPLATE" or TEMPLATE
	JSON   bool   // an array
}

// Column is one column of the default table: its heading and its template.
type Column struct{ Head, Field string }

// Print prints rows. Its error is an *Error, or that of writing.
func Print[T any](w io.Writer, o Options, columns []Column, rows []T) error {
	switch {
	case o.JSON && rows == nil:
		return JSON(w, []T{})
	case o.JSON:
		return JSON(w, rows)
	case o.Format == "json": // a line each, as docker has it
		for _, r := range rows {
			if err := Line(w, r); err != nil {
				return err
			}
		}
		return nil
	}
	text, table := strings.CutPrefix(o.Format, "table")
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.TrimSpace(text))
	if !table && text != "" {
		return printEach(w, text, rows)
	}
	if text == "" && len(columns) == 0 {
		return &Error{text: `a table needs columns here, as in 'table {{.A}}\t{{.B}}'`}
	}
	return printTable(w, text, columns, rows)
}

// Line prints a value as one line of JSON.
func Line(w io.Writer, v any) error {
	enc := json.NewEncoder(visible.JSONWriter(w))
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// JSON prints a value as JSON for people.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(visible.JSONWriter(w))
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func printEach[T any](w io.Writer, text string, rows []T) error {
	t, err := Parse(text)
	if err != nil {
		return err
	}
	if err := checkFields[T](t, len(rows)); err != nil {
		return err
	}
	for _, r := range rows {
		line, err := t.Row(r)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(visible.Writer(w), line); err != nil {
			return err
		}
	}
	return nil
}

// checkFields finds a field that does not exist where there is no row that
// would show it.
func checkFields[T any](t *Template, rows int) error {
	var none T
	if rows > 0 {
		return nil
	}
	return t.Check(none)
}

// maxCell bounds a cell of a table, in characters.
const maxCell = 16 << 10

// printTable prints the columns, or those that text has between its tabs.
func printTable[T any](w io.Writer, text string, columns []Column, rows []T) error {
	var names []string
	if text == "" {
		fields := make([]string, len(columns))
		for i, c := range columns {
			fields[i] = c.Field
			names = append(names, c.Head)
		}
		text = strings.Join(fields, "\t")
	} else {
		names = heads(text, columns)
	}
	t, err := Parse(text)
	if err != nil {
		return err
	}
	if err := checkFields[T](t, len(rows)); err != nil {
		return err
	}
	mark := t.tabs()
	cells := [][]string{names}
	for _, r := range rows {
		line, err := t.Apply(r)
		if err != nil {
			return err
		}
		cells = append(cells, strings.Split(line, mark))
	}
	return Table(w, cells)
}

// Table prints rows of cells in columns that are aligned on a terminal, however
// wide their characters are. What a cell has cannot begin another cell or row.
// The last cell of a row is not filled up.
func Table(w io.Writer, rows [][]string) error {
	const gap = 3
	var widths []int
	safe := make([][]string, len(rows))
	for n, row := range rows {
		safe[n] = make([]string, len(row))
		for i, c := range row {
			safe[n][i] = visible.Bounded(c, maxCell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], visible.Width(safe[n][i]))
			}
		}
	}
	var b strings.Builder
	for _, row := range safe {
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-visible.Width(c)+gap))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heads are the headings of a table: those of the default table for what is in
// it, else the names of fields.
func heads(text string, columns []Column) []string {
	if t, err := parseWith(text, headings(func(path string) string { return headOf(path, columns) })); err == nil {
		mark := t.tabs()
		if line, err := t.Apply(nil); err == nil {
			return strings.Split(line, mark)
		}
	}
	var names []string // a field is not what its heading is, such as a list
	for cell := range strings.SplitSeq(text, "\t") {
		names = append(names, strings.ToUpper(strings.Trim(cell, "{} .")))
	}
	return names
}

func headOf(path string, columns []Column) string {
	for _, c := range columns {
		if c.Field == "{{."+path+"}}" {
			return c.Head
		}
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	var b strings.Builder
	after := ' '
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(after) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
		after = r
	}
	return b.String()
}
