// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// Error says what is wrong with a template, in words for people.
type Error struct {
	text    string
	noField bool // that it names
}

func (e *Error) Error() string { return e.text }

func noField(err error) bool {
	_, ok := errors.AsType[*fieldError](err)
	return ok
}

// plainWords takes what is text/template's own off an error: where in its
// template and data it was, and the names of types in Go.
func plainWords(err error) string {
	if f, ok := errors.AsType[*fieldError](err); ok {
		return f.text
	}
	m := regexp.MustCompile(`(?s)^template: [^:]*:\d+(?::\d+)?: (?:executing ".*?" at <.*?>: )?(?:error calling (\w+): )?(.*)$`).
		FindStringSubmatch(err.Error())
	if m == nil {
		return hideTypes(err.Error())
	}
	called, what := m[1], m[2]
	switch {
	case called != "":
		return called + ": " + ofBuiltin(called, what)
	case strings.HasPrefix(what, "function "):
		return what + "; there are " + strings.Join(functionNames(), ", ")
	case strings.HasPrefix(what, "range can't iterate over"):
		return "range is for lists and maps"
	}
	return hideTypes(what)
}

// ofBuiltin words the failures of text/template's own functions.
func ofBuiltin(name, what string) string {
	switch name {
	case "eq", "ne", "lt", "le", "gt", "ge":
		return "these two values cannot be compared"
	case "len":
		return "only a text, a list or a map has a length"
	case "index", "slice":
		return "there is no such element"
	case "call":
		return "there is nothing to call"
	}
	return hideTypes(what)
}

func hideTypes(s string) string {
	return regexp.MustCompile(`\*?\b[a-z]\w*\.[A-Za-z]\w*|\[\]\w+|map\[\w+\]\w+|interface \{\}|struct \{.*\}|<nil>`).ReplaceAllString(s, "another kind of value")
}

func functionNames() []string {
	names := []string{"and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println", "slice"}
	for name := range functions() {
		if name != fieldFunction {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
