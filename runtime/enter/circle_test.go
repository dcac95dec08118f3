// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package enter

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The C files call each other in one direction only.
func TestNoCircle(t *testing.T) {
	files, err := filepath.Glob("*.c")
	if err != nil || len(files) < 6 {
		t.Fatalf("%v, %v", files, err)
	}
	texts, defined := map[string]string{}, map[string]string{}
	function := regexp.MustCompile(`(?m)^(?:[a-z][\w ]*[ *])(\w+)\([^;]*\)\n\{`)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|"[^"\n]*"`).ReplaceAllString(string(data), "")
		for _, m := range function.FindAllStringSubmatch(texts[file], -1) {
			if !strings.HasPrefix(m[0], "static ") {
				defined[m[1]] = file
			}
		}
	}
	if defined["enter"] != "enter.c" || defined["open_in_root"] != "path.c" || defined["text"] != "process.c" || defined["hooks"] != "caller.c" {
		t.Fatalf("functions are not found: %v", defined)
	}
	calls := map[string]map[string]string{}
	for file, text := range texts {
		calls[file] = map[string]string{}
		for name, in := range defined {
			if in != file && regexp.MustCompile(`\b`+name+`\(`).MatchString(text) {
				calls[file][in] = name
			}
		}
	}
	var visit func(file string, path []string)
	visit = func(file string, path []string) {
		if slices.Contains(path, file) {
			t.Fatalf("a circle: %s", strings.Join(append(path, file), " → "))
		}
		for next := range calls[file] {
			visit(next, append(slices.Clone(path), file))
		}
	}
	for file := range texts {
		visit(file, nil)
	}
}
