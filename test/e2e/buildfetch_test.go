// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// TestBuildFetches: ADD puts nothing of this machine's services into an image,
// whatever the network of its steps, unless a rule names it.
func TestBuildFetches(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }))
		t.Cleanup(secret.Close)
		at := strings.TrimPrefix(secret.URL, "http://")
		git := gitDaemon(t)
		o := newStore(t, w)
		dir := filepath.Join(o.dir, "ctx")
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // a build context
			t.Fatal(err)
		}
		for _, c := range []struct {
			add  string
			args []string
			why  string // "" for a build that succeeds
		}{
			{secret.URL + "/x", nil, "hint: to allow it, use --egress 127.0.0.1:"},
			{secret.URL + "/x", []string{"--network", "none"}, "it is loopback"},
			{secret.URL + "/x", []string{"--egress", at}, ""},
			{secret.URL + "/x", []string{"--allow", "network.host"}, ""},
			{"git://" + git + "/r.git", nil, "it is loopback"},
			{"git://" + git + "/r.git", []string{"--egress", git}, ""},
		} {
			text := "FROM scratch\nADD " + c.add + " /x\n"
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil { //nolint:gosec // a build context
				t.Fatal(err)
			}
			r := o.run(t, append(append([]string{"build", "--no-cache", "--progress", "plain"}, c.args...), dir)...)
			if (r.code == 0) != (c.why == "") || !strings.Contains(r.stderr, c.why) {
				t.Errorf("ADD %s, %v: exit status %d, want %q\n%s", c.add, c.args, r.code, c.why, r.stderr)
			}
		}
		// A context that a person names may be anywhere.
		if r := o.run(t, "build", secret.URL+"/x"); !strings.Contains(r.stderr, "secret") {
			t.Errorf("the context is not read: %s", r.stderr)
		}
		o.clean(t)
	})
}

// gitDaemon serves a repository r.git by git's own protocol.
func gitDaemon(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	git := func(args ...string) *exec.Cmd {
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+base)
		return cmd
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main", base + "/w"},
		{"-C", base + "/w", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"},
		{"clone", "--quiet", "--bare", base + "/w", base + "/r.git"},
	} {
		if out, err := git(args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_, port, err := net.SplitHostPort(at)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	core, err := git("--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(filepath.Join(strings.TrimSpace(string(core)), "git-daemon"), "--export-all", "--base-path="+base, "--listen=127.0.0.1", "--port="+port, base) // itself: git would be its parent
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	testkit.Eventually(t, testkit.Patience, "git daemon answers", func() bool {
		c, err := net.Dial("tcp", at)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return at
}
