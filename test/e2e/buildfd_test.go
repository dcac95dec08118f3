// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWorkdirOfDescriptors: a WORKDIR that names a descriptor of whoever starts
// the step leads nowhere (CVE-2024-21626), and a cache goes from store to store.
func TestWorkdirOfDescriptors(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir, err := os.MkdirTemp(w.home, "fds-") //nolint:usetesting // where the caller can go
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
		})
		marker := filepath.Join(dir, "marker")
		put(t, marker, "the host's")
		if err := errors.Join(os.Chown(dir, w.uid, w.gid), os.Chown(marker, w.uid, w.gid)); err != nil {
			t.Fatal(err)
		}
		for fd := 3; fd < 12; fd += 2 {
			file := filepath.Join(dir, "Dockerfile")
			put(t, file, fmt.Sprintf("FROM debian:trixie-slim\nWORKDIR /proc/self/fd/%d\nRUN cat ../../../../../../../..%s\n", fd, marker))
			stdout, stderr, code := w.run(t, "build", "--sbom=false", "--progress", "plain", dir)
			if code == 0 || strings.Contains(stdout+stderr, "the host's") {
				t.Errorf("descriptor %d: status %d\n%s", fd, code, stderr)
			}
		}
		put(t, filepath.Join(dir, "Dockerfile"), "FROM debian:trixie-slim\nRUN date +%N > /n\n")
		w.must(t, "build", "-q", "--sbom=false", "-t", "fds/one", "--cache-to", "type=local,dest="+dir+"/cache", dir)
		w.must(t, "rmi", "fds/one")
		w.must(t, "builder", "prune", "-f")
		_, stderr, code := w.run(t, "build", "--progress", "plain", "--sbom=false", "-t", "fds/one", "--cache-from", "type=local,src="+dir+"/cache", dir)
		if code != 0 || !strings.Contains(stderr, "CACHED") {
			t.Errorf("the cache is not used: %s", stderr)
		}
		w.must(t, "rmi", "fds/one")
	})
}
