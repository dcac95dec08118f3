// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// FuzzPSRow shows commands that an image may have chosen: whatever they hold,
// the terminal gets one line of printable text.
func FuzzPSRow(f *testing.F) {
	for _, c := range []string{"sh", "a\nb", "\x1b[2J", "\x9b31m", "\u202egnp.exe", "\xff", strings.Repeat("é", 40)} {
		f.Add(c, false)
		f.Add(c, true)
	}
	f.Fuzz(func(t *testing.T, command string, noTrunc bool) {
		row := newRow(&record.Record{ID: strings.Repeat("0", 64), Applied: record.Applied{Command: []string{command}}}, noTrunc)
		for _, r := range row.Command {
			if !unicode.IsPrint(r) {
				t.Errorf("%q is shown as %q", command, row.Command)
			}
		}
	})
}

// FuzzFormat gives listings formats that make no sense: they are errors, and
// no more.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{"{{.ID}}", "table {{.ID}}\t{{.Name}}", "{{", "json", "table", `{{.Nope}}`, `{{json .}}`} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, format string) {
		if strings.ContainsAny(format, "*0123456789") || strings.Contains(format, "range") || strings.Contains(format, "template") {
			return // a person may make their own listing long
		}
		_ = printRows(io.Discard, listing{format: format}, []column{{"ID", "{{.ID}}"}}, []psRow{{ID: "id"}})
	})
}
