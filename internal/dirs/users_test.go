// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dirs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestUsers: only a directory of that user's counts, whoever may write to /tmp.
func TestUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give directories to others")
	}
	root := t.TempDir()
	for dir, uid := range map[string]int{
		"run/user/1001/cpc": 1001, "tmp/cpc-run-1002": 1002, "tmp/cpc-run-1001": 1001, // both places
		"tmp/cpc-run-1003": 1004, "tmp/cpc-run-+1005": 1005, "tmp/cpc-run-x": 1006, "tmp/cpc-run-0": 0, "run/user/1007/other": 1007,
	} {
		at := filepath.Join(root, dir)
		if err := os.MkdirAll(at, 0o755); err != nil { //nolint:gosec // as the system's are
			t.Fatal(err)
		}
		if err := os.Chown(at, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("cpc-run-1002", root+"/tmp/cpc-run-1008"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/tmp/cpc-run-1009", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(root+"/tmp/cpc-run-1009", 1009, 1009); err != nil {
		t.Fatal(err)
	}
	if got := usersBelow(root); !slices.Equal(got, []int{1001, 1002}) {
		t.Errorf("%v, want 1001 and 1002", got)
	}
}
