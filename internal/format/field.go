// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// lookup returns what is at a path below a value: a field by its name in Go or in
// JSON, a method with its arguments, or what a map has under a name.
//
// What is not there of something known is "": an element of a map, or a field of
// a nil pointer. A name that is not known is a *fieldError.
func lookup(base any, path string, args ...any) (any, error) {
	v := reflect.ValueOf(base)
	names := strings.Split(path, ".")
	for i, name := range names {
		above := names[:i]
		last := i == len(names)-1
		var err error
		if last {
			v, err = member(v, above, name, args)
		} else {
			v, err = member(v, above, name, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return value(v), nil
}

// value is v as a template works with it.
func value(v reflect.Value) any {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		v = v.Elem()
	}
	if !v.IsValid() {
		return ""
	}
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return t.Format(time.RFC3339Nano)
	}
	return v.Interface()
}

// member returns one field of v; the zero Value stands for what is absent.
func member(v reflect.Value, above []string, name string, args []any) (reflect.Value, error) {
	absent := false // a nil pointer: its type says what it would have
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() && v.Kind() == reflect.Pointer {
			v, absent = reflect.Zero(v.Type().Elem()), true
			continue
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return v, nil
	}
	if m := v.MethodByName(name); m.IsValid() && templated(m.Type()) {
		if absent {
			return reflect.Value{}, nil
		}
		return call(m, name, args)
	}
	if len(args) > 0 {
		return reflect.Value{}, &fieldError{text: dotted(above, name) + " takes no value"}
	}
	switch v.Kind() { //nolint:exhaustive // the others have nothing below them
	case reflect.Struct:
		f, ok := fieldNamed(v, name)
		if !ok {
			return reflect.Value{}, unknownField(v, above, name)
		}
		if absent {
			return reflect.Value{}, nil
		}
		return f, nil
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return reflect.Value{}, nil
		}
		return v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())), nil
	case reflect.String:
		if v.Len() == 0 { // of something absent
			return reflect.Value{}, nil
		}
	}
	return reflect.Value{}, &fieldError{text: "there is no " + dotted(above, name) + ": " + whole(above) + " is " + kindOf(v)}
}

// fieldNamed is found by its name in Go and, failing that, in JSON.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	fields := reflect.VisibleFields(v.Type())
	for _, by := range []func(reflect.StructField) string{
		func(f reflect.StructField) string { return f.Name },
		jsonName,
	} {
		for _, f := range fields {
			if f.IsExported() && !f.Anonymous && by(f) == name {
				found, err := v.FieldByIndexErr(f.Index)
				return found, err == nil
			}
		}
	}
	return reflect.Value{}, false
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// templated reports whether a method can be a field: it returns one value.
func templated(m reflect.Type) bool { return m.NumOut() == 1 && !m.IsVariadic() }

func call(m reflect.Value, name string, args []any) (reflect.Value, error) {
	t := m.Type()
	if t.NumIn() != len(args) {
		want := "takes no value"
		if t.NumIn() > 0 {
			want = `takes a value, as in {{.` + name + ` "VALUE"}}`
		}
		return reflect.Value{}, &fieldError{text: "." + name + " " + want}
	}
	in := make([]reflect.Value, len(args))
	for i, a := range args {
		in[i] = reflect.ValueOf(a)
		if !in[i].IsValid() || !in[i].Type().AssignableTo(t.In(i)) {
			return reflect.Value{}, &fieldError{text: "." + name + " takes " + kindOf(reflect.Zero(t.In(i)))}
		}
	}
	return m.Call(in)[0], nil
}

// fieldError says which field is not there, and which are.
type fieldError struct{ text string }

func (e *fieldError) Error() string { return e.text }

func unknownField(v reflect.Value, above []string, name string) error {
	return &fieldError{text: "there is no field " + dotted(above, name) + "; " + whole(above) + " has " + strings.Join(fieldNames(v.Type()), ", ")}
}

// fieldNames are the names that a template can use, in order.
func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous {
			names = append(names, f.Name)
		}
	}
	for m := range t.Methods() {
		if !strings.HasPrefix(m.Name, "Marshal") && m.Name != "String" && templated(m.Type) {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func dotted(above []string, name string) string {
	return "." + strings.Join(append(slices.Clone(above), name), ".")
}

func whole(above []string) string {
	if len(above) == 0 {
		return "it"
	}
	return "." + strings.Join(above, ".")
}

// kindOf names the kind of a value for people.
func kindOf(v reflect.Value) string {
	switch v.Kind() { //nolint:exhaustive // numbers follow
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map:
		return "a map"
	case reflect.Struct:
		return "a group of fields"
	}
	if v.CanInt() || v.CanUint() || v.CanFloat() {
		return "a number"
	}
	return "nothing"
}
