// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sbom"
)

// Without a network scan says how to do without one, and which advisories it has.
func TestScanWithoutNetwork(t *testing.T) {
	const nobody = "http://127.0.0.1:1"
	data := t.TempDir()
	f := &scanFlags{db: []string{nobody}}
	_, err := f.advisories(t.Context(), data, []string{"PyPI"}, time.Hour)
	_, hint := explain(err)
	if !errors.Is(err, errNotFetched) || errors.Is(err, errNotFetchedAgain) || !strings.Contains(hint, "--db") || !strings.Contains(hint, "/all.zip") {
		t.Errorf("%v; %s", err, hint)
	}
	m := sbom.Mirror{Dir: filepath.Join(data, "osv", "http:%2F%2F127.0.0.1:1")}
	path, err := m.Path("PyPI")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	_, err = f.advisories(t.Context(), data, []string{"PyPI"}, time.Hour)
	if _, hint := explain(err); !errors.Is(err, errNotFetchedAgain) || !strings.Contains(hint, "--max-age 0") {
		t.Errorf("%v; %s", err, hint)
	}
	if _, err := f.advisories(t.Context(), data, []string{"PyPI"}, 0); err != nil {
		t.Errorf("old ones, of any age: %v", err)
	}
}
