// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cpc system reset leaves nothing, where rm -rf fails: layers of mapped ids, the
// build cache, running sandboxes, damage. What is not of cpc stays.
func TestReset(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o, dir := newStore(t, w), w.buildDir(t)
		probe, err := theBed.probe()
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "p"), string(probe))
		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY --chmod=0755 p /p\nCOPY --chown=1:1 --chmod=0700 p /d/p\nRUN --mount=type=cache,target=/c [\"/p\", \"files\"]\n")
		if w.mode == single {
			put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY --chmod=0755 p /p\n")
		}
		o.must(t, "build", "-q", "-t", "img", dir)
		o.must(t, "run", "-d", "--name", "sleeper", "--network", "none", "img", "/p", "sleep")
		if w.mode == mapped { // the control: this is why there is such a command
			if out, err := w.command("rm", "-rf", o.dir+"/data/layers").CombinedOutput(); err == nil || !strings.Contains(string(out), "denied") {
				t.Fatalf("rm -rf: %v: %s", err, out)
			}
		}
		o.fails(t, 1, []string{"sandboxes are running: sleeper", "cpc system reset --force"}, "system", "reset")
		o.must(t, "exec", "sleeper", "/p", "files")
		o.must(t, "system", "reset", "--force")
		o.gone(t)

		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\n")
		o.must(t, "build", "-q", "--sbom=false", "-t", "img", dir)
		answer := o.cpc("system", "reset")
		answer.Stdin = strings.NewReader("n\n")
		if r := finish(t, answer); r.code != 1 || !strings.Contains(r.stderr, "all images") || o.must(t, "images", "-q") == "" {
			t.Errorf("not confirmed: %+v", r)
		}
		foreign := filepath.Join(o.dir, "data", "letters")
		put(t, foreign, "dear")
		put(t, filepath.Join(o.dir, "data", "oci", "index.json"), "damaged")
		answer = o.cpc("system", "reset")
		answer.Stdin = strings.NewReader("y\n")
		if r := finish(t, answer); r.code != 0 || !strings.Contains(r.stderr, "letters is not of cpc") {
			t.Errorf("with a foreign file: %+v", r)
		}
		if left, err := os.ReadDir(filepath.Dir(foreign)); err != nil || len(left) != 1 {
			t.Errorf("left: %v, %v", left, err)
		}
		if err := os.Remove(foreign); err != nil {
			t.Fatal(err)
		}
		o.must(t, "system", "reset", "-f")
		o.gone(t)
	})
}

// gone fails the test unless the store's directories are gone.
func (o *ownStore) gone(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
		t.Errorf("left by a reset: %v, %v", left, err)
	}
	if left := processesOf(o.dir); len(left) > 0 {
		t.Errorf("processes left by a reset: %v", left)
	}
}
