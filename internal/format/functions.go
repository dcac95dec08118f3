// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"unicode"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// functions are docker's, besides those of text/template.
func functions() template.FuncMap {
	return template.FuncMap{
		fieldFunction: lookup,
		"json":        inJSON,
		"split":       split,
		"join":        join,
		"title":       ofText(title),
		"upper":       ofText(strings.ToUpper),
		"lower":       ofText(strings.ToLower),
		"pad":         pad,
		"truncate":    truncate,
	}
}

// headings are the functions for a table's first line, in which a field is its
// heading: what changes a text leaves that alone.
func headings(of func(path string) string) template.FuncMap {
	same := func(v any) any { return v }
	return template.FuncMap{
		fieldFunction: func(_ any, path string, args ...any) string {
			for _, a := range args { // {{.Label "x"}}
				return strings.ToUpper(fmt.Sprint(a))
			}
			return of(path)
		},
		"json": same, "title": same, "upper": same, "lower": same,
		"split": func(v, _ any) any { return v }, "join": func(v, _ any) any { return v },
		"truncate": func(v, _ any) any { return v }, "pad": pad,
	}
}

func inJSON(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", errors.New("the value has no form in JSON")
	}
	return string(visible.JSON([]byte(strings.TrimSuffix(b.String(), "\n")))), nil
}

// text is a value that goes where a text is wanted.
func text(v any) (string, error) {
	if s, ok := v.(fmt.Stringer); ok {
		return s.String(), nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() { //nolint:exhaustive // the others are printed
	case reflect.Invalid:
		return "", nil
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Struct, reflect.Pointer, reflect.Func, reflect.Chan:
		return "", fmt.Errorf("must be a text, not %s", kindOf(r))
	}
	return fmt.Sprint(v), nil
}

func ofText(do func(string) string) func(any) (string, error) {
	return func(v any) (string, error) {
		s, err := text(v)
		return do(s), err
	}
}

func split(v any, separator string) ([]string, error) {
	s, err := text(v)
	return strings.Split(s, separator), err
}

// join takes a list of anything.
func join(list any, separator string) (string, error) {
	r := reflect.ValueOf(list)
	switch r.Kind() {
	case reflect.Invalid:
		return "", nil
	case reflect.Slice, reflect.Array:
	default:
		if s, err := text(list); err == nil && s == "" { // of something absent
			return "", nil
		}
		return "", fmt.Errorf("must be a list, not %s", kindOf(r))
	}
	parts := make([]string, r.Len())
	for i := range parts {
		var err error
		if parts[i], err = text(r.Index(i).Interface()); err != nil {
			return "", fmt.Errorf("element %d: %w", i, err)
		}
	}
	return strings.Join(parts, separator), nil
}

func title(s string) string {
	begins := true
	return strings.Map(func(r rune) rune {
		defer func() { begins = unicode.IsSpace(r) || unicode.IsPunct(r) && r != '\'' && r != '_' }()
		if begins {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

func pad(v any, before, after int) (string, error) {
	const most = 1000
	s, err := text(v)
	return strings.Repeat(" ", min(max(before, 0), most)) + s + strings.Repeat(" ", min(max(after, 0), most)), err
}

func truncate(v any, n int) (string, error) {
	s, err := text(v)
	r := []rune(s)
	return string(r[:min(max(n, 0), len(r))]), err
}
