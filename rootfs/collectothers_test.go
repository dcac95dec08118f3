// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// Layers that were unpacked for another mapping of ids go, those in use later.
func TestCollectOtherMappings(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "here", entry{name: "f", content: "x"})
		other := s.path("layers", "mapped-4242")
		free, used := digest.FromString("free"), digest.FromString("used")
		for _, d := range []digest.Digest{free, used} {
			if err := os.MkdirAll(filepath.Join(other, d.Encoded(), "dir"), 0o700); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(other, d.Encoded(), "dir", "file"), "x")
		}
		lock, err := filelock.Acquire(t.Context(), s.layerLock(used), filelock.Shared)
		if err != nil {
			t.Fatal(err)
		}
		there := func(d digest.Digest) bool {
			_, err := os.Lstat(filepath.Join(other, d.Encoded()))
			return err == nil
		}
		if err := s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if there(free) || !there(used) || !s.HaveLayer(img.Config.RootFS.DiffIDs[0]) {
			t.Errorf("free there: %v, used there: %v", there(free), there(used))
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if there(used) {
			t.Error("it is there although nothing uses it")
		}
	})
}
