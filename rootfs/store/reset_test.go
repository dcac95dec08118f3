// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// A reset takes what is a store's, half-removed trees and unreadable directories
// included, and nothing else; it waits for nobody who is at work.
func TestReset(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d[a]ta")
	for _, d := range []string{"oci/blobs", "layers/mapped-1/a/b", "layers/root/c", "tmp.rm/0", "locks", "osv", "doctor-1", "letters"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "layers/root/c"), 0); err != nil {
		t.Fatal(err)
	}
	lock, err := filelock.Try(filepath.Join(dir, "locks/gc"), filelock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Reset(t.Context(), dir, "osv", "doctor-*"); !errors.Is(err, ErrBusy) {
		t.Errorf("beside a build: %v, want ErrBusy", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := Reset(t.Context(), dir, "osv", "doctor-*")
	if err != nil || len(left) != 1 || left[0] != filepath.Join(dir, "letters") {
		t.Errorf("left %v, %v", left, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("there is %v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(dir, "letters")); err != nil {
		t.Fatal(err)
	}
	if left, err = Reset(t.Context(), dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is there: %v", err)
	}
}
