// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package notation

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

type profile struct {
	Action string
	Names  []string
	On     *bool
	Inner  struct{ N int }
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{bad`:                `not JSON: byte 2: invalid character 'b' looking for beginning of object key string`,
		`{"Action": 5}`:       "Action: must be a string, not a number",
		`{"Names": "x"}`:      "Names: must be a list, not a string",
		`{"On": []}`:          "On: must be true or false, not a list",
		`{"Inner": {"N":{}}}`: "Inner.N: must be a number, not an object",
		`[]`:                  "the whole: must be an object, not a list",
		`{"Nosuch": 1}`:       `unknown field "Nosuch"`,
		``:                    "not JSON: it ends too early",
		`{`:                   "not JSON: it ends too early",
	} {
		var p profile
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := JSON(dec.Decode(&p)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := JSON(nil); err != nil {
		t.Error(err)
	}
}

func TestTOML(t *testing.T) {
	for text, want := range map[string]string{
		"Names = 5":        "Names: must be a list, not a number",
		"\nAction = ['x']": "Action: must be a string, not a list",
		"Inner = true":     "Inner: must be a table, not true or false",
		"On = 'yes'":       "On: must be true or false, not a string",
		"Names = [":        "line 1: ",
		"Action = 'x":      "line 1: ",
	} {
		var p profile
		_, err := toml.Decode(text, &p)
		err = TOML(err)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
			continue
		}
		for _, word := range []string{"toml:", "slice", "int64", "struct", "destination"} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	if err := TOML(nil); err != nil {
		t.Error(err)
	}
}
