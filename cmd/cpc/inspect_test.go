// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/changetest"
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
		changetest.Change(t, reflect.ValueOf(&s).Elem().Field(i))
		if shown(s) == before {
			t.Errorf("cpc inspect does not show %s", kind.Field(i).Name)
		}
	}
}
