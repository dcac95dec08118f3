// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// The build cache gives up what was unused longest, never what an image needs, nor
// a mount in use, and no more than it must.
func TestBoundCache(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		const size = 256 << 10
		key := func(i int) digest.Digest { return digest.FromString(strconv.Itoa(i)) }
		for i := range 4 { // 0 is the oldest; the image of 1 keeps its name
			name := "step" + strconv.Itoa(i)
			img := importTar(t, s, name, entry{name: "f", content: incompressible(size, byte(i))})
			layersOf(t, s, img)
			if err := s.CachePut(key(i), CacheEntry{Layer: img.LayerDescriptors()[0]}); err != nil {
				t.Fatal(err)
			}
			age(t, s.cachePath(key(i)), time.Duration(10-i)*time.Hour)
			if i != 1 {
				if _, err := s.Remove(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		m := fullMount(t, s, size)
		age(t, m.Dir()+".filled", 20*time.Hour)

		if d, err := store.BoundCache(t.Context(), s.Store, 100*size); err != nil || d != (store.CacheDropped{}) {
			t.Errorf("within the bound: %+v, %v", d, err)
		}
		// Three layers, each as blob and as directory, and the mount: 7 x size and a little.
		d, err := store.BoundCache(t.Context(), s.Store, 5*size+size/2)
		if err != nil || d.Steps != 1 || d.Mounts != 0 || d.Freed < 2*size {
			t.Errorf("the mount is in use: dropped %+v, %v", d, err)
		}
		if err := m.Release(); err != nil {
			t.Fatal(err)
		}
		if d, err = store.BoundCache(t.Context(), s.Store, 4*size+size/2); err != nil || d.Steps != 0 || d.Mounts != 1 {
			t.Errorf("the mount is oldest: dropped %+v, %v", d, err)
		}
		if d, err = store.BoundCache(t.Context(), s.Store, 0); err != nil || d.Steps != 2 {
			t.Errorf("nothing is kept: dropped %+v, %v", d, err)
		}
		for i := range 4 {
			if _, ok, err := s.CacheGet(key(i)); ok != (i == 1) || err != nil {
				t.Errorf("step %d is there: %v, %v", i, ok, err)
			}
		}
		if u, err := s.Usage(t.Context()); err != nil || u.CacheOnly != 0 || u.Images != 1 || u.Blobs > 2*size {
			t.Errorf("in the end: %+v, %v", u, err)
		}
	})
}

// incompressible is content that does not compress.
func incompressible(size int, seed byte) string {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data) //nolint:errcheck // never fails
	return string(data)
}

// age makes it as if a file had been used so long ago.
func age(t modetest.T, path string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// fullMount is a cache mount that a step has, with a file of that size.
func fullMount(t modetest.T, s *Store, size int) *CacheMount {
	t.Helper()
	m, err := s.CacheMount(t.Context(), digest.FromString("mount"), CacheShared)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(filepath.Join(m.Dir(), "f"), make([]byte, size), 0o600)
	if err := errors.Join(err, m.Filled()); err != nil {
		t.Fatal(err)
	}
	return m
}
