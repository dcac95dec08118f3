// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package format prints what commands list: as a table, as JSON, or by a template
// as --format of docker takes it.
//
// A template is Go's text/template, with one difference: fields are looked up by
// this package (see lookup), not by text/template. So a field goes by its name in
// Go and by that in JSON, a time is RFC 3339, what is below something absent is
// empty, and a name that does not exist is answered in words, with the names that
// do. Parse makes the difference by rewriting each {{.A.B}} of the parsed template
// into a call of a function of this package.
//
// What is printed is others' words too: all of it goes through internal/visible.
package format

import (
	"crypto/rand"
	"errors"
	"strings"
	"text/template"
	"text/template/parse"
)

// Template is a parsed --format.
type Template struct {
	t *template.Template
	// lines: it makes line ends itself.
	lines bool
}

// Parse parses a template. Its error is an *Error.
func Parse(text string) (*Template, error) { return parseWith(text, functions()) }

func parseWith(text string, functions template.FuncMap) (*Template, error) {
	t, err := template.New("format").Funcs(functions).Parse(text)
	if err != nil {
		return nil, &Error{text: plainWords(err)}
	}
	for _, each := range t.Templates() {
		if each.Tree != nil {
			rewriteList(each.Root)
		}
	}
	lines := strings.ContainsAny(text, "\n\r") || strings.Contains(text, `\n`) || strings.Contains(text, "println")
	return &Template{t: t, lines: lines}, nil
}

// Row is Apply for a list, in which a row is a line: line ends that are none of
// the template's own become spaces, so that no value can begin a row.
func (t *Template) Row(row any) (string, error) {
	line, err := t.Apply(row)
	if err == nil && !t.lines {
		line = strings.NewReplacer("\n", " ", "\r", " ").Replace(line)
	}
	return line, err
}

// Apply returns what the template makes of a row. Its error is an *Error.
func (t *Template) Apply(row any) (string, error) {
	var b strings.Builder
	if err := t.t.Execute(&b, row); err != nil {
		return "", &Error{text: plainWords(err), noField: noField(err)}
	}
	return b.String(), nil
}

// Check finds a field that rows like this one do not have; whatever else is wrong
// may be so with this row only. Its error is an *Error.
func (t *Template) Check(row any) error {
	if row == nil {
		return nil
	}
	_, err := t.Apply(row)
	if e, ok := errors.AsType[*Error](err); ok && e.noField {
		return err
	}
	return nil
}

// tabs marks the template's own tabs, which are the borders of a table's cells,
// so that they can be told from those in values. Nobody can guess the mark.
func (t *Template) tabs() string {
	mark := "\x00" + rand.Text() + "\x00"
	for _, each := range t.t.Templates() {
		if each.Tree != nil {
			markTabs(each.Root, mark)
		}
	}
	return mark
}

func markTabs(list *parse.ListNode, mark string) {
	walk(list, func(n parse.Node) {
		if text, ok := n.(*parse.TextNode); ok {
			text.Text = []byte(strings.ReplaceAll(string(text.Text), "\t", mark))
		}
	})
}
