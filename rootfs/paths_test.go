// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// reopened is a store with other options.
func reopened(tb testing.TB, s *Store, change func(*Options)) *Store {
	tb.Helper()
	o := s.Options()
	change(&o)
	s, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Where things are in a store, for tests that look or spoil something there.

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.Options().Dir}, parts...)...)
}

func (s *Store) blobPath(d digest.Digest) string { return s.path("oci/blobs/sha256", d.Encoded()) }

func (s *Store) layerDir(diffID digest.Digest) string {
	return s.path("layers", s.Variant(), diffID.Encoded())
}

func (s *Store) cachePath(key digest.Digest) string {
	return s.path("cache", s.Variant(), key.Encoded()+".json")
}

func (s *Store) layerLock(diffID digest.Digest) string {
	return s.path("locks", "layer-"+diffID.Encoded())
}
