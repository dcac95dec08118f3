// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// fill leaves that many bytes of the store's file system.
func fill(t modetest.T, s *Store, left int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(s.Options().Dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(s.Options().Dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left); err != nil { //nolint:gosec // small
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDiskAnywhere has everything that changes a store run out of room at
// many points. It says so, and the store is as it was before or as it is after.
// What gives room back works with none.
func TestFullDiskAnywhere(t *testing.T) {
	for op := range killedOps() {
		t.Run(op, func(t *testing.T) {
			single(t, func(t modetest.T, s *Store) {
				arg := killedArg(t, s, op)
				whole := killedState(t)
				before := imageNames(t, whole)
				if err := killedOps()[op](t.Context(), whole, arg); err != nil {
					t.Fatal(err)
				}
				after := imageNames(t, whole)
				seen := map[string]int{}
				for _, left := range []int64{0, 4 << 10, 16 << 10, 64 << 10, 300 << 10, 700 << 10, 1100 << 10, 1500 << 10, 2200 << 10, 3 << 20} {
					s := openStore(t, t.Mapping)
					if err := unix.Mount("tmpfs", s.Options().Dir, "tmpfs", 0, "mode=700,size=16m"); err != nil {
						t.Fatal(err)
					}
					seen[fullDisk(t, s, op, arg, left, [2][]string{before, after})]++
					if err := unix.Unmount(s.Options().Dir, 0); err != nil {
						t.Error(err)
					}
				}
				t.Log(seen)
			})
		})
	}
}

func fullDisk(t modetest.T, s *Store, op, arg string, left int64, may [2][]string) string {
	t.Helper()
	s, err := Open(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	killedImages(t, s)
	fill(t, s, left)
	s, err = Open(s.Options())
	if err != nil {
		t.Fatalf("open with %d bytes left: %v", left, err)
	}
	err = killedOps()[op](t.Context(), s, arg)
	if err != nil && !store.NoRoom(err) {
		t.Errorf("with %d bytes left: %v", left, err)
	}
	if err != nil && (op == "rmi" || op == "prune") {
		t.Errorf("what would give room back, with %d bytes left: %v", left, err)
	}
	if err := os.Remove(filepath.Join(s.Options().Dir, "filler")); err != nil {
		t.Error(err)
	}
	names := killedCheck(t, s, may[0], may[1])
	if done := slices.Equal(names, may[1]); done != (err == nil) {
		t.Errorf("with %d bytes left: %v; the images are %v", left, err, names)
	}
	return strings.Join(names, " ")
}
