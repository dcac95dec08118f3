// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/format"
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
	cmd.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "Print only "+what)
	cmd.Flags().BoolVar(&l.noTrunc, "no-trunc", false, "Do not truncate output")
}

// column is one column of the default table.
type column struct{ head, field string }

// printRows prints rows, each of which a template can be applied to.
func printRows[T any](w io.Writer, l listing, columns []column, rows []T) error {
	list := make([]format.Column, len(columns))
	for i, c := range columns {
		list[i] = format.Column{Head: c.head, Field: c.field}
	}
	return formatError(format.Print(w, format.Options{Format: l.format, JSON: l.json}, list, rows))
}

// printOne prints what there is one of; as JSON on one line for --format json,
// as docker does.
func printOne[T any](w io.Writer, l listing, v T) error {
	if l.json {
		return printJSON(w, v)
	}
	return printRows(w, l, nil, []T{v})
}

// formatError makes what is wrong with a --format an error of the command line.
func formatError(err error) error {
	if e, ok := errors.AsType[*format.Error](err); ok {
		return usageError{flagError("--format", e)}
	}
	return err
}

func printJSON(w io.Writer, v any) error { return format.JSON(w, v) }

// ago says how long it is since t, in words.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}
