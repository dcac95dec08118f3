// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// tarball is a compressed tar with one file.
func tarball(t *testing.T) []byte {
	t.Helper()
	p := filepath.Join(t.TempDir(), "x.tgz")
	writeArchive(t, p, []string{"inside=packed"})
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gzip.NewReader(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return data
}

// remote serves files and git repositories.
func remote(t *testing.T, repos string, packed []byte) *httptest.Server {
	t.Helper()
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal("git is needed:", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Sat, 08 Sep 2001 01:46:40 GMT")
		fmt.Fprint(w, "fetched", r.Header.Get("Authorization"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "root") })
	mux.HandleFunc("/x.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed) })
	mux.HandleFunc("/gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	mux.HandleFunc("/meta", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/credentials", http.StatusFound)
	})
	mux.Handle("/git/", &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"), Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + repos, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// repository makes a bare repository: a tag v1 and a main branch after it, with
// a link that leads out of it.
func repository(t *testing.T) (dir, first string) {
	t.Helper()
	dir = t.TempDir()
	work := filepath.Join(dir, "work")
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", work, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	writeFile(t, filepath.Join(work, "README"), []byte("one\n"), 0o664)
	writeFile(t, filepath.Join(work, "bin/tool"), []byte("#!/bin/sh\n"), 0o775)
	git("init", "--quiet", "--initial-branch=main")
	if err := os.Symlink("/etc", filepath.Join(work, "out")); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "--quiet", "-m", "one")
	git("tag", "v1")
	first = git("rev-parse", "HEAD")
	writeFile(t, filepath.Join(work, "README"), []byte("two\n"), 0o664)
	git("commit", "--quiet", "-a", "-m", "two")
	git("clone", "--quiet", "--bare", work, filepath.Join(dir, "r.git"))
	return dir, first
}

// TestAddRemote: ADD of URLs and repositories.
func TestAddRemote(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		repos, first := repository(t)
		packed := tarball(t)
		server := remote(t, repos, packed)
		host := strings.TrimPrefix(server.URL, "http://")
		name, _, _ := strings.Cut(host, ":")
		sum := digest.FromString("fetched").String()
		for _, c := range []struct{ line, want string }{
			{"ADD %s/file /f", "0 0600 0:0 f \"fetched\""},
			{"ADD --checksum=" + sum + " --chown=5:6 --chmod=0644 %s/file /d/", "0 0644 5:6 d/file \"fetched\""},
			{"ADD --checksum=sha256:" + strings.Repeat("0", 64) + " %s/file /f", "error: digest mismatch " + sum},
			{"ADD %s/gone /f", "error: invalid response status 410"},
			{"ADD %s/meta /f", "error: 169.254.169.254 is not connected to: it is cloud metadata"},
			{"ADD %s/x.tgz /d/", "0 0600 0:0 d/x.tgz"},
			{"ADD --unpack=true %s/x.tgz /d/", "0 0640 7:8 d/inside \"packed\""},
			{"ADD %s/git/r.git /src", "0 0644 0:0 src/README \"two\\n\""},
			{"ADD %s/git/r.git /src", "0 0755 0:0 src/bin/tool \"#!/bin/sh\\n\""},
			{"ADD %s/git/r.git#v1 /src/", "0 0644 0:0 src/README \"one\\n\""},
			{"ADD %s/git/r.git#" + first + " /src", "src/README \"one\\n\""},
			{"ADD %s/git/r.git#" + first[:9] + ":bin /src", "0 0755 0:0 src/tool"},
			{"ADD --checksum=" + first + " %s/git/r.git#v1 /src", "src/README \"one\\n\""},
			{"ADD --checksum=" + first + " %s/git/r.git#main /src", "error: expected checksum to match " + first},
			{"ADD --keep-git-dir=true %s/git/r.git /src", "src/.git/HEAD"},
			{"ADD %s/git/r.git#main:out /src", "error: subdirectory out of the repository"},
			{"ADD %s/git/r.git#main:../.. /src", "src/README"},
			{"ADD %s/git/none.git /src", "error: git fetch:"},
			{"ADD %s/git/r.git#nobranch /src", "error: git fetch:"},
		} {
			line := strings.Replace(c.line, "%s", server.URL, 1)
			dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\n" + line + "\n")})
			img, err := Build(t.Context(), b.options(dir, t.Output()))
			if want, ok := strings.CutPrefix(c.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: got %v, want %s", c.line, err, want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.line, err)
				continue
			}
			var out strings.Builder
			b.describe(t, &out, img)
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("%s: got\n%swant %s", c.line, out.String(), c.want)
			}
			if strings.Contains(out.String(), ".git/") && !strings.Contains(c.line, "keep-git") {
				t.Errorf("%s: .git is in\n%s", c.line, out.String())
			}
		}
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\nADD " + server.URL + "/file /f\n")})
		img, _ := b.rebuild(t, dir, func(o *Options) { o.Secrets = map[string]Secret{"HTTP_AUTH_TOKEN_" + name: SecretValue("tok\n")} })
		var out strings.Builder
		b.describe(t, &out, img)
		if !strings.Contains(out.String(), "fetchedBearer tok") {
			t.Errorf("no token was sent: %s", out.String())
		}
		b.nothingLeft(t)
	})
}
