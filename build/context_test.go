// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// TestContextSource: contexts that are git repositories and URLs.
func TestContextSource(t *testing.T) {
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		repos, first := repository(t)
		server := remote(t, repos, tarball(t))
		text := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "FROM scratch\n") }))
		t.Cleanup(text.Close)
		for _, c := range []struct{ name, file, want, err string }{
			{server.URL + "/git/r.git", "README", "two\n", ""},
			{server.URL + "/git/r.git#v1", "README", "one\n", ""},
			{server.URL + "/git/r.git#" + first, "README", "one\n", ""},
			{server.URL + "/git/r.git#main:bin", "tool", "#!/bin/sh\n", ""},
			{server.URL + "/git/r.git?ref=v1&subdir=bin", "tool", "#!/bin/sh\n", ""},
			{server.URL + "/git/r.git#main:out", "", "", "subdirectory out of the repository"},
			{server.URL + "/git/r.git#nobranch", "", "", "git fetch"},
			{server.URL + "/x.tgz", "inside", "packed", ""},
			{server.URL + "/gone", "", "", "invalid response status 410"},
			{server.URL + "/meta", "", "", "cloud metadata"},
			{text.URL + "/Dockerfile", "-", "FROM scratch\n", ""},
		} {
			source := &ContextSource{Store: b.store}
			if IsLocal(c.name) {
				t.Errorf("%s is taken for a path", c.name)
			}
			got, err := source.Get(t.Context(), c.name)
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: %v, want %s", c.name, err, c.err)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			default:
				var data []byte
				if c.file == "-" {
					data, err = io.ReadAll(got.Dockerfile)
				} else {
					data, err = os.ReadFile(filepath.Join(got.Dir, c.file))
				}
				if err != nil || string(data) != c.want {
					t.Errorf("%s: %q, %v; want %q", c.name, data, err, c.want)
				}
			}
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		}
		b.nothingLeft(t)
	})
}
