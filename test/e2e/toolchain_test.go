// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestToolchains builds typical Dockerfiles of four languages, with packages
// that come through the gateway, and runs what they make.
func TestToolchains(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		for _, c := range []struct {
			name, want string
			build, run []string
		}{
			{"python", "hello, you, from python /opt/venv\n", nil, []string{"you"}},
			{"node", "hello from node, greet, production\n", nil, nil},
			{"go", "hello from go, v1.2.3\n", []string{"--build-arg", "VERSION=v1.2.3"}, nil},
			{"rust", "hello from rust\n", nil, nil},
		} {
			image := "cpc-e2e/toolchain-" + c.name
			dir := filepath.Join(w.home, "toolchain", c.name)
			ownContext(t, w, filepath.Join("testdata/toolchain", c.name), dir)
			start := time.Now()
			w.buildSlowly(t, append(c.build, "--network", "default", "-t", image, dir)...)
			t.Logf("%s: built in %v", c.name, time.Since(start).Round(time.Second))
			if got := w.must(t, append([]string{"run", "--rm", "--network", "none", image}, c.run...)...); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
			w.must(t, "rmi", image)
		}
	})
}

// buildSlowly builds what takes longer than other commands may.
func (w *who) buildSlowly(t *testing.T, args ...string) {
	t.Helper()
	cmd := w.cpc(t, append([]string{"build", "--sbom=false"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(10*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("cpc build %s: %v\n%s", strings.Join(args, " "), err, &out)
	}
}

// ownContext copies a build context to where the caller can read it.
func ownContext(t *testing.T, w *who, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // the caller passes through
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, w.uid, w.gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}
