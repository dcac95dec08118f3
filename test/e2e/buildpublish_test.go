// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// advisories is a database with one entry for lodash.
const (
	advisories = `[{"id":"GHSA-e2e","affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"4.17.21"}]}]}]}]`
	lodash     = `{"name":"lodash","version":"4.17.20"}`
)

// TestBuildPublishesLast: a build that fails at an output, at a push or where its
// id goes leaves the name where it was.
func TestBuildPublishesLast(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir, o := w.buildDir(t), newStore(t, w)
		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nLABEL n=1\n")
		const image = "localhost:1/e2e/last:1"
		old := o.must(t, "build", "-q", "-t", image, dir)
		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nLABEL n=2\n")
		for _, how := range [][]string{
			{"-o", "type=oci,dest=" + dir + "/none/x"},
			{"-o", "type=docker,dest=" + dir + "/none/x"},
			{"--iidfile", dir + "/none/x"},
			{"--metadata-file", dir + "/none/x"},
			{"--push"},
			{"--push", "--platform", "linux/amd64,linux/arm64"},
		} {
			if r := o.run(t, append(append([]string{"build", "-q", "-t", image}, how...), dir)...); r.code == 0 {
				t.Errorf("%v: exit status 0", how)
			}
			if now := o.must(t, "images", "-q", "--no-trunc", image); now != old {
				t.Errorf("%v: the name was moved from %s to %s", how, old, now)
			}
		}
		out := o.must(t, "build", "-q", "-t", image, "-t", "second:1", "-o", "type=oci,dest="+dir+"/oci.tar", dir)
		if out == old {
			t.Error("nothing new was built")
		}
		o.must(t, "rmi", image, "second:1")
		if got := o.must(t, "load", "-i", dir+"/oci.tar"); !strings.Contains(got, image) {
			t.Errorf("the archive has not the name that the image gets: %s", got)
		}
	})
}

// TestIndexGoesRound: an image for two platforms is pushed, pulled, scanned and pruned
// like any other.
func TestIndexGoesRound(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir, o := w.buildDir(t), newStore(t, w)
		put(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY package.json /app/node_modules/lodash/\n")
		put(t, filepath.Join(dir, "package.json"), lodash)
		put(t, filepath.Join(dir, "list.json"), advisories)
		ref, _ := serveRegistry(t, new(atomic.Bool))
		image := strings.TrimSuffix(ref, "pulled:1") + "two:1"
		o.must(t, "build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", image, "--push", dir)
		o.must(t, "push", image)
		o.must(t, "rmi", image)
		o.must(t, "image", "prune", "-f")
		if got := o.must(t, "images", "-q"); got != "" {
			t.Errorf("left after prune: %s", got)
		}
		o.must(t, "pull", "-q", "--platform", "linux/arm64", image)
		o.must(t, "pull", "-q", image)
		if r := o.run(t, "scan", "--db", dir+"/list.json", "--max-age", "0", image); !strings.Contains(r.stdout, "GHSA-e2e") {
			t.Errorf("scan: %d %s %s", r.code, r.stdout, r.stderr)
		}
		o.must(t, "image", "prune", "-f")
		if got := o.must(t, "images", "-q", image); strings.Count(got, "\n") != 1 {
			t.Errorf("a name was pruned: %q", got)
		}
	})
}

// buildDir is a directory of the caller's for a context.
func (w *who) buildDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(w.home, "build-") //nolint:usetesting // where the caller can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, w.uid, w.gid); err != nil {
		t.Fatal(err)
	}
	return dir
}
