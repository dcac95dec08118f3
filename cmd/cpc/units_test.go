// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUnits: what the units of deploy/systemd start is a command line that
// cpc understands.
func TestUnits(t *testing.T) {
	found := 0
	for _, dir := range []string{"../../deploy/systemd", "../../deploy/systemd/user"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.service"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			unit := strings.ReplaceAll(string(data), "\\\n", " ")
			for _, m := range regexp.MustCompile(`(?m)^Exec[A-Za-z]+=[-@:+!]*(?:\S*/)?cpc (.*)$`).FindAllStringSubmatch(unit, -1) {
				found++
				checkCommandLine(t, filepath.Base(file), strings.Fields(m[1]))
			}
		}
	}
	if found < 3 {
		t.Errorf("%d command lines found", found)
	}
}

func checkCommandLine(t *testing.T, unit string, args []string) {
	t.Helper()
	cmd, rest, err := newRoot(&app{}).Find(args)
	if err != nil {
		t.Errorf("%s: cpc %s: %v", unit, strings.Join(args, " "), err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: cpc %s: %v", unit, strings.Join(args, " "), err)
	}
	for _, arg := range cmd.Flags().Args() {
		if strings.HasPrefix(arg, "-") && arg != "--" {
			t.Errorf("%s: cpc %s: %s is no flag", unit, strings.Join(args, " "), arg)
		}
	}
}
