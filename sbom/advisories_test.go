// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sbom_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/sbom"
)

// Without a network an error says how to do without one, and which advisories it has.
func TestAdvisoriesWithoutNetwork(t *testing.T) {
	const nobody = "http://127.0.0.1:1"
	a := sbom.Advisories{Dir: t.TempDir(), From: []string{nobody}, MaxAge: time.Hour}
	_, err := a.Files(t.Context(), []string{"PyPI"})
	advice := hint.For(err)
	if !errors.Is(err, sbom.ErrNotFetched) || errors.Is(err, sbom.ErrNotFetchedAgain) || !strings.Contains(advice, "--db") || !strings.Contains(advice, "/all.zip") {
		t.Errorf("%v; %s", err, advice)
	}
	m := sbom.Mirror{Dir: filepath.Join(a.Dir, "http:%2F%2F127.0.0.1:1")}
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
	_, err = a.Files(t.Context(), []string{"PyPI"})
	if advice := hint.For(err); !errors.Is(err, sbom.ErrNotFetchedAgain) || !strings.Contains(advice, "--max-age 0") {
		t.Errorf("%v; %s", err, advice)
	}
	a.MaxAge = 0
	if _, err := a.Files(t.Context(), []string{"PyPI"}); err != nil {
		t.Errorf("old ones, of any age: %v", err)
	}
}
