// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// hosts are a server that a build may use, which sends one on, and a service of
// this machine that is nobody's business.
type hosts struct{ open, secret *httptest.Server }

func newHosts(t *testing.T) hosts {
	t.Helper()
	repos, first := repository(t)
	var h hosts
	h.secret = remote(t, repos, nil)
	withSubmodule(t, repos, first, h.secret.URL)
	mux := http.NewServeMux()
	mux.Handle("/", remote(t, repos, nil).Config.Handler)
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.HandleFunc("/elsewhere/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, h.secret.URL+strings.TrimPrefix(r.URL.Path, "/elsewhere")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
	})
	h.open = httptest.NewServer(mux)
	t.Cleanup(h.open.Close)
	return h
}

// withSubmodule adds m.git, which has r.git at another server as a submodule.
func withSubmodule(t *testing.T, repos, commit, address string) {
	t.Helper()
	work := filepath.Join(repos, "m")
	modules := "[submodule \"sub\"]\n\tpath = sub\n\turl = " + address + "/git/r.git\n"
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main", work},
		{"-C", work, "update-index", "--add", "--cacheinfo", "160000," + commit + ",sub"},
		{"-C", work, "add", ".gitmodules"},
		{"-C", work, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "x"},
		{"clone", "--quiet", "--bare", work, filepath.Join(repos, "m.git")},
	} {
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+repos)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		if args[0] == "init" {
			writeFile(t, filepath.Join(work, ".gitmodules"), []byte(modules), 0o644)
		}
	}
}

func portOf(t *testing.T, s *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// TestAddKeepsOut: what a Dockerfile names, and what that leads to, is not read
// from this machine unless a rule lets it. Each line has its control.
func TestAddKeepsOut(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		h := newHosts(t)
		open, secret := "127.0.0.1:"+portOf(t, h.open), "127.0.0.1:"+portOf(t, h.secret)
		for _, line := range []string{
			"ADD http://" + secret + "/file /f",
			"ADD http://localhost:" + portOf(t, h.secret) + "/file /f",
			"ADD http://[::ffff:127.0.0.1]:" + portOf(t, h.secret) + "/file /f",
			"ADD http://" + open + "/to?url=http://" + secret + "/file /f",
			"ADD http://" + open + "/to?url=http://" + open + "/to%3furl=http://" + secret + "/file /f",
			"ADD http://" + secret + "/git/r.git /f",
			"ADD http://" + open + "/elsewhere/git/r.git /f",
			"ADD http://" + open + "/git/m.git /f", // its submodule
		} {
			dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\n" + line + "\n")})
			for _, c := range []struct {
				what string
				set  func(*Options)
				ok   bool
			}{
				{"no rules", func(o *Options) { o.Egress = nil }, false},
				{"a rule for the first server", func(o *Options) { o.Egress = granted{open} }, false},
				{"rules for both", func(o *Options) { o.Egress = granted{open, secret} }, true},
			} {
				o := b.options(dir, t.Output())
				c.set(&o)
				_, err := Build(t.Context(), o)
				if c.ok && err != nil {
					t.Errorf("%s, %s: %v", line, c.what, err)
				}
				if !c.ok && (err == nil || !strings.Contains(fmt.Sprint(err), "is not connected to: it")) {
					t.Errorf("%s, %s: %v, want a refusal", line, c.what, err)
				}
			}
		}
		b.nothingLeft(t)
	})
}
