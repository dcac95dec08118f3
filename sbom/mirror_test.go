// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sbom_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sbom"
)

func archive(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	e, err := w.Create("X.json")
	if err == nil {
		_, err = e.Write([]byte(`{"id":"X"}`))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestMirror(t *testing.T) {
	content, since := archive(t), time.Time{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/npm/all.zip":
			http.ServeContent(w, r, "", since, bytes.NewReader(content))
		case "/base/Rocky Linux/all.zip":
			_, _ = w.Write([]byte("not a zip"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	m := sbom.Mirror{Dir: t.TempDir() + "/osv", Source: server.URL + "/base"}
	if _, err := m.Age("npm"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("age of nothing: %v", err)
	}
	if err := m.Update(t.Context(), "npm"); err != nil {
		t.Fatal(err)
	}
	path, err := m.Path("npm")
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-100 * time.Hour)
	since = old.Add(-time.Hour) // unchanged since it was fetched
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	content = []byte("would be an error if it were taken")
	if err := m.Update(t.Context(), "npm"); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	if age, err := m.Age("npm"); err != nil || age > time.Hour {
		t.Errorf("age %v, %v: it was looked after a moment ago", age, err)
	}
	for ecosystem, want := range map[string]string{"Rocky Linux": "not a zip archive", "PyPI": "404", "../x": "not a name"} {
		if err := m.Update(t.Context(), ecosystem); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ecosystem, err, want)
		}
	}
	left, err := os.ReadDir(m.Dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the mirror: %v, %v", left, err)
	}
}

func TestSeverityWords(t *testing.T) {
	for _, word := range []string{"unknown", "none", "low", "medium", "high", "critical"} {
		s, err := sbom.ParseSeverity(strings.ToUpper(word))
		if err != nil || s.String() != word {
			t.Errorf("%s: %v, %v", word, s, err)
		}
	}
	if _, err := sbom.ParseSeverity("bad"); err == nil {
		t.Error("a word that is no severity is one")
	}
}
