// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

func ownerOf(tb testing.TB, path string) [2]uint32 {
	tb.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		tb.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return [2]uint32{sys.Uid, sys.Gid}
}

// callerIDs is how the sandbox's ids look to this process.
func callerIDs(tb testing.TB, m idmap.Mapping, uid, gid uint32) [2]uint32 {
	tb.Helper()
	if m.Mode == idmap.Single {
		return [2]uint32{}
	}
	u, err := m.ToCaller(uid)
	if err != nil {
		tb.Fatal(err)
	}
	g, err := m.ToCaller(gid)
	if err != nil {
		tb.Fatal(err)
	}
	return [2]uint32{u, g}
}

func TestMountShowsSandboxIDs(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		img := importTar(
			t, s, "ids",
			entry{name: "./", kind: tar.TypeDir, mode: 0o711},
			entry{name: "root", content: "r"}, entry{name: "five", content: "5", uid: 5, gid: 6},
			entry{name: "last", content: "l", uid: 65535, gid: 65535},
		)
		for _, storeUpper := range []bool{false, true} {
			name := map[bool]string{false: "run", true: "build"}[storeUpper]
			mnt := mountImage(t, s, name, MountOptions{Layers: layersOf(t, s, img), StoreUpper: storeUpper, Volatile: !storeUpper})
			for file, ids := range map[string][2]uint32{".": {}, "root": {}, "five": {5, 6}, "last": {65535, 65535}} {
				if got, want := ownerOf(t, filepath.Join(mnt.Root, file)), callerIDs(t, m, ids[0], ids[1]); got != want {
					t.Errorf("%s: %s is owned by %x, want %x", name, file, got, want)
				}
			}
			if st, err := os.Stat(mnt.Root); err != nil || st.Mode().Perm() != 0o711 {
				t.Errorf("%s: root of the tree: %v %v, want mode 0711", name, st.Mode(), err)
			}
			unmount(t, mnt)
			if entries, err := os.ReadDir(filepath.Dir(mnt.Upper)); err != nil || len(entries) != 3 {
				t.Errorf("%s: scratch holds %v %v, want merged, upper and work", name, entries, err)
			}
			if err := s.RemoveScratch(name); err != nil {
				t.Error(err)
			}
		}
		if left, err := s.Scratches(); err != nil || len(left) != 0 {
			t.Errorf("scratch directories left: %v %v", left, err)
		}
	})
}

// writeAs writes a file as the sandbox's user id would.
func writeAs(tb testing.TB, path string, ids [2]uint32) {
	tb.Helper()
	mustWrite(tb, path, "new")
	if err := os.Lchown(path, int(ids[0]), int(ids[1])); err != nil {
		tb.Fatal(err)
	}
}

func TestStoreUpperHoldsStoreIDs(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		img := importTar(t, s, "ids", entry{name: "old", content: "o", uid: 7, gid: 7})
		mnt := mountImage(t, s, "b", MountOptions{Layers: layersOf(t, s, img), StoreUpper: true})
		writeAs(t, filepath.Join(mnt.Root, "new"), callerIDs(t, m, 5, 6))
		f, err := os.OpenFile(filepath.Join(mnt.Root, "old"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.WriteString("more"); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		unmount(t, mnt)
		for file, ids := range map[string]uint32{"new": 5, "old": 7} {
			want, err := m.ToStore(ids)
			if err != nil {
				t.Fatal(err)
			}
			if got := ownerOf(t, filepath.Join(mnt.Upper, file)); got[0] != want {
				t.Errorf("%s is owned by %d on disk, want %d", file, got[0], want)
			}
		}
	})
}

func TestMountManyLayers(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		var layers []Layer
		for i := range store.MaxLayers {
			dir := filepath.Join(t.TempDir(), strings.Repeat("a,b:c\\", 20), string(rune('a'+i%26)))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			id, err := m.ToStore(0)
			if err == nil {
				err = os.Chown(dir, int(id), int(id))
			}
			if err != nil {
				t.Fatal(err)
			}
			layers = append(layers, Layer{Dir: dir})
		}
		mustWrite(t, filepath.Join(layers[0].Dir, "bottom"), "")
		mustWrite(t, filepath.Join(layers[store.MaxLayers-1].Dir, "top"), "")
		mnt := mountImage(t, s, "many", MountOptions{Layers: layers})
		defer unmount(t, mnt)
		for _, name := range []string{"bottom", "top"} {
			if _, err := os.Lstat(filepath.Join(mnt.Root, name)); err != nil {
				t.Error(err)
			}
		}
		if err := os.Mkdir(filepath.Join(mnt.Root, "dir"), 0o755); m.Mode != idmap.Root && err != nil {
			t.Error(err)
		}
	})
}

func TestMountIsNodevAndCloses(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		img := importTar(t, s, "x", entry{name: "f", content: "x"})
		fds := testkit.Descriptors(t)
		before, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		mnt := mountImage(t, s, "x", MountOptions{Layers: layersOf(t, s, img)})
		var st unix.Statfs_t
		if err := unix.Statfs(mnt.Root, &st); err != nil || st.Flags&unix.ST_NODEV == 0 {
			t.Errorf("flags %x (%v), want nodev", st.Flags, err)
		}
		unmount(t, mnt)
		after, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
		}
		if now := testkit.Descriptors(t); now != fds {
			t.Errorf("%d files are open, %d were before", now, fds)
		}
		if err := mnt.Close(); !errors.Is(err, unix.EINVAL) {
			t.Errorf("second Close: %v, want EINVAL", err)
		}
	})
}

func TestMountPlan(t *testing.T) {
	layers := []Layer{{Dir: "/l/1"}, {Dir: "/l/2"}}
	p, err := planMount(MountOptions{Layers: layers, Scratch: "/s", Target: "/t", Mapping: idmap.ForRoot(modetest.RootBase), StoreUpper: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.lower, []string{"/l/2", "/l/1"}) || !p.idmap || !p.idmapScratch || slices.Contains(p.options, "userxattr") {
		t.Errorf("as root: %+v", p)
	}
	p, err = planMount(MountOptions{Layers: layers, Scratch: "/s", Target: "/t", Mapping: idmap.ForMapped(), StoreUpper: true, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	if p.idmap || p.idmapScratch || !slices.Equal(p.options, []string{"index=off", "userxattr", "volatile"}) {
		t.Errorf("as a user: %+v", p)
	}
	if _, err := planMount(MountOptions{Mapping: idmap.ForSingle()}); err == nil {
		t.Error("no layers: no error")
	}
	if _, err := planMount(MountOptions{Layers: make([]Layer, store.MaxLayers+1), Mapping: idmap.ForSingle()}); err == nil {
		t.Error("too many layers: no error")
	}
}
