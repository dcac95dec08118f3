// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package golden compares what a test got with a file of testdata; go test
// -update writes the file anew instead. For tests only.
package golden

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// JSON compares v, indented, with testdata/name.
func JSON(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	Text(t, name, string(got)+"\n")
}

// Text compares got with testdata/name, and shows the first line that differs.
func Text(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if Updating() {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if line, is := firstDifference(got, string(want)); line > 0 {
		t.Errorf("%s differs at line %d (look, then go test -update): %s", file, line, is)
	}
}

// firstDifference returns the number of the first line in which got is not
// want, from 1, and the line; 0 if there is none.
func firstDifference(got, want string) (line int, is string) {
	if got == want {
		return 0, ""
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return i + 1, g[i]
		}
	}
	return len(g) + 1, "(missing)"
}
