// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// TestInspectIsComplete: whatever is recorded of a sandbox's settings is shown.
func TestInspectIsComplete(t *testing.T) {
	shown := func(s record.Settings) string {
		e := &record.Entry{Record: &record.Record{ID: "0123456789abcdef", Settings: s}, Dir: t.TempDir(), DataDir: t.TempDir()}
		v := inspectSandbox(e)
		v.LogPath, v.Bundle = "", ""
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	kind := reflect.TypeFor[record.Settings]()
	for i := range kind.NumField() {
		var s record.Settings
		before := shown(s)
		change(t, reflect.ValueOf(&s).Elem().Field(i))
		if shown(s) == before {
			t.Errorf("cpc inspect does not show %s", kind.Field(i).Name)
		}
	}
}

// change sets a value to another one than it has.
func change(t *testing.T, v reflect.Value) {
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
		change(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		change(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("changed").Convert(v.Type().Key()), reflect.ValueOf("changed").Convert(v.Type().Elem()))
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("%s: teach this test about it", v.Type())
	}
}
