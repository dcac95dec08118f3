// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package beside

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Find(filepath.Base(self)); err != nil || got != self {
		t.Errorf("this program: %q, %v", got, err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if got, err := Find("cpc-test-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("what is nowhere: %q, %v", got, err)
	}
	want := filepath.Join(dir, "cpc-test-program")
	if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if got, err := Find("cpc-test-program"); err != nil || got != want {
		t.Errorf("in PATH: %q, %v", got, err)
	}
}
