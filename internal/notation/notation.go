// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package notation words what is wrong with a file that a person wrote in JSON or
// TOML. The decoders name types of Go, which say nothing to somebody who does not
// read the program.
package notation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
)

// JSON words an error of a decoder of JSON. Others stay what they are.
func JSON(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON: byte %d: %s", syntax.Offset, syntax.Error())
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := kind.Field
		if field == "" {
			field = "the whole"
		}
		return fmt.Errorf("%s: must be %s, not %s", field, kindOf(kind.Type), ofJSON(kind.Value))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not JSON: it ends too early")
	}
	if err == nil {
		return nil
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s", name)
	}
	return err
}

func ofJSON(value string) string {
	word, _, _ := strings.Cut(value, " ")
	switch word {
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "true or false"
	}
	return "a " + word
}

func kindOf(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the others are numbers
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// TOML words an error of a decoder of TOML, with its line where it has one.
func TOML(err error) error {
	if err == nil {
		return nil
	}
	line, text := 0, err.Error()
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		line, text = e.Position.Line, e.Message
	}
	text = strings.TrimPrefix(text, "toml: ")
	m := regexp.MustCompile(`^(line \d+ )?\(last key "(.*?)"\): (?:incompatible types: TOML value has type (\S+); destination has type (\S+)|type mismatch for .*: expected (\S+) but found (\S+))$`).FindStringSubmatch(text)
	if m != nil {
		text = fmt.Sprintf("%s%s: must be %s, not %s", m[1], m[2], ofTOML(m[4]+m[5]), ofTOML(m[3]+m[6]))
	}
	if line > 0 {
		return fmt.Errorf("line %d: %s", line, text)
	}
	return errors.New(text)
}

func ofTOML(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"), strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice", kind == "array", strings.HasPrefix(kind, "[]"):
		return "a list"
	case strings.HasPrefix(kind, "map"), kind == "struct", kind == "table":
		return "a table"
	case kind == "bool", kind == "boolean":
		return "true or false"
	}
	return "a " + kind
}
