// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// TestPruneCacheMounts: one that a step has stays, then it goes with what is in it.
func TestPruneCacheMounts(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		m, err := s.CacheMount(t.Context(), digest.FromString("a step's"), CacheShared)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, filepath.Join(m.Dir(), "f"), string(make([]byte, 64<<10)))
		if err := m.Filled(); err != nil {
			t.Fatal(err)
		}
		for _, held := range []bool{true, false} {
			if u, err := s.Usage(t.Context()); err != nil || u.CacheMounts < 64<<10 {
				t.Errorf("in use %v: %+v, %v", held, u, err)
			}
			freed, err := s.PruneCacheMounts(0)
			if err != nil || (freed == 0) != held {
				t.Errorf("in use %v: freed %d, %v", held, freed, err)
			}
			if held {
				if err := m.Release(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if u, err := s.Usage(t.Context()); err != nil || u.CacheMounts >= 64<<10 {
			t.Errorf("pruned: %+v, %v", u, err)
		}
	})
}
