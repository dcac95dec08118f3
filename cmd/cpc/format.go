// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// listing is how a command that lists is asked to print.
type listing struct {
	format  string // "", "json", "table TEMPLATE" or TEMPLATE
	json    bool
	quiet   bool
	noTrunc bool
}

func (l *listing) register(cmd *cobra.Command) { l.registerShort(cmd, "") }

// registerShort gives --format a letter, where docker has one.
func (l *listing) registerShort(cmd *cobra.Command, letter string) {
	fs := cmd.Flags()
	fs.StringVarP(&l.format, "format", letter, "", "`FORMAT`: json, table, or a Go template, such as '{{.ID}} {{.Name}}'")
	fs.BoolVar(&l.json, "json", false, "Print a JSON array")
}

func (l *listing) registerQuiet(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "Print "+what+" only")
	cmd.Flags().BoolVar(&l.noTrunc, "no-trunc", false, "Do not shorten")
}

// column is one column of the default table.
type column struct{ head, field string }

// printRows prints rows, each of which a template can be applied to.
func printRows[T any](w io.Writer, l listing, columns []column, rows []T) error {
	if rows == nil {
		rows = []T{}
	}
	if l.json {
		return printJSON(w, rows)
	}
	if l.format == "json" { // a line each, as docker has it
		for _, r := range rows {
			enc := json.NewEncoder(visible.JSONWriter(w))
			enc.SetEscapeHTML(false)
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	text, table := strings.CutPrefix(l.format, "table")
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.TrimSpace(text))
	if !table && text != "" {
		return printTemplate(w, text, rows)
	}
	if text != "" {
		columns = templateColumns(text)
	}
	return printTable(w, columns, rows)
}

func printTemplate[T any](w io.Writer, text string, rows []T) error {
	t, err := parseTemplate(text)
	if err != nil {
		return err
	}
	for _, r := range rows {
		line, err := applyTemplate(t, r)
		if err != nil {
			return fmt.Errorf("--format: %w", err)
		}
		if _, err := fmt.Fprintln(visible.Writer(w), line); err != nil {
			return err
		}
	}
	return nil
}

// applyTemplate knows fields by their names in Go and, failing that, by those
// in JSON, which are what people see: {{.ID}} and {{.Id}}.
func applyTemplate(t *template.Template, row any) (string, error) {
	var b strings.Builder
	err := t.Execute(&b, row)
	if err == nil {
		return b.String(), nil
	}
	raw, jsonErr := json.Marshal(row)
	if jsonErr != nil {
		return "", err
	}
	var fields any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil {
		return "", err
	}
	b.Reset()
	if t.Option("missingkey=error").Execute(&b, fields) != nil {
		return "", err
	}
	return b.String(), nil
}

func parseTemplate(text string) (*template.Template, error) {
	t, err := template.New("format").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			var b strings.Builder
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			err := enc.Encode(v)
			return string(visible.JSON([]byte(strings.TrimSuffix(b.String(), "\n")))), err
		},
		"split": strings.Split,
		"pad": func(s string, before, after int) string {
			const most = 1000
			return strings.Repeat(" ", min(max(before, 0), most)) + s + strings.Repeat(" ", min(max(after, 0), most))
		},
		"truncate": func(s string, n int) string {
			r := []rune(s)
			return string(r[:min(max(n, 0), len(r))])
		},
		"join": strings.Join, "upper": strings.ToUpper, "lower": strings.ToLower,
	}).Parse(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--format: %w", err)}
	}
	return t, nil
}

// templateColumns takes "{{.ID}}\t{{.Name}}" apart.
func templateColumns(text string) []column {
	var columns []column
	for cell := range strings.SplitSeq(text, "\t") {
		head := strings.ToUpper(strings.Trim(cell, "{} ."))
		columns = append(columns, column{head: head, field: cell})
	}
	return columns
}

func printTable[T any](w io.Writer, columns []column, rows []T) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	heads := make([]string, len(columns))
	fields := make([]*template.Template, len(columns))
	for i, c := range columns {
		heads[i] = c.head
		t, err := parseTemplate(c.field)
		if err != nil {
			return err
		}
		fields[i] = t
	}
	if _, err := fmt.Fprintln(tw, strings.Join(heads, "\t")); err != nil {
		return err
	}
	for _, r := range rows {
		row := make([]string, len(fields))
		for i, t := range fields {
			var b strings.Builder
			if err := t.Execute(&b, r); err != nil {
				return fmt.Errorf("--format: %w", err)
			}
			row[i] = b.String()
		}
		if _, err := fmt.Fprintln(tw, strings.Join(cells(row), "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// maxCell bounds a cell of a table, in characters.
const maxCell = 16 << 10

// cells makes the texts of a row's cells safe: one cannot begin another cell or
// row.
func cells(row []string) []string {
	safe := make([]string, len(row))
	for i, c := range row {
		safe[i] = visible.Bounded(c, maxCell)
	}
	return safe
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(visible.JSONWriter(w))
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// ago says how long it is since t, in words.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}
