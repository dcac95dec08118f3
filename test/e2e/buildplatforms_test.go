// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildPlatforms: a build for two platforms, with what is the default, is an
// image that can be used like any other; one that fails at its end names nothing.
func TestBuildPlatforms(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir := w.buildDir(t)
		put(t, filepath.Join(dir, "Dockerfile"), "FROM --platform=$BUILDPLATFORM debian:trixie-slim\nARG TARGETARCH\nCOPY Dockerfile /is-$TARGETARCH\n")
		const image = "localhost/e2e-two:1"
		w.must(t, "build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", image, dir)
		if out := w.must(t, "run", "--rm", "--limits", "best-effort", "--network", "none", image, "ls", "/"); !strings.Contains(out, "is-amd64") {
			t.Errorf("run: %s", out)
		}
		for _, args := range [][]string{
			{"sbom", "-o", filepath.Join(dir, "sbom"), image},
			{"inspect", image},
			{"history", image},
			{"tag", image, "localhost/e2e-two:2"},
			{"save", "-o", filepath.Join(dir, "saved"), "--format", "oci-archive", image},
			{"export", "-o", filepath.Join(dir, "exported"), image},
			{"rmi", "localhost/e2e-two:2"},
		} {
			if _, stderr, code := w.run(t, args...); code != 0 {
				t.Errorf("cpc %v: exit status %d: %s", args, code, stderr)
			}
		}
		// The last step that can fail comes before what others see.
		iid := filepath.Join(dir, "iid")
		_, stderr, code := w.run(t, "build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", "localhost/e2e-failed:1", "--iidfile", iid, "-o", "type=tar,dest="+dir+"/x.tar", dir)
		if code == 0 || !strings.Contains(stderr, "one platform only") {
			t.Errorf("exit status %d: %s", code, stderr)
		}
		if _, err := os.Stat(iid); err == nil {
			t.Error("an id of a build that failed was written")
		}
		if _, _, code := w.run(t, "inspect", "localhost/e2e-failed:1"); code == 0 {
			t.Error("a build that failed has its name")
		}
		w.must(t, "rmi", image)
		w.must(t, "image", "prune", "-f")
	})
}
