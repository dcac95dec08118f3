// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package changetest helps tests that hold that every field of a struct counts:
// it gives a value another one than it has.
package changetest

import (
	"reflect"
	"testing"
)

// Change sets a value to another one than it has.
func Change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "changed")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 7)
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(v.Uint() + 7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		Change(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		Change(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("changed").Convert(v.Type().Key()), reflect.ValueOf("changed").Convert(v.Type().Elem()))
	case reflect.Struct:
		Change(t, v.Field(0))
	default:
		t.Fatalf("%s: teach this test about it", v.Type())
	}
}
