// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// snapshot describes a tree: a line for every name.
func snapshot(tb testing.TB, root string) map[string]string {
	tb.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%o %d:%d %d", sys.Mode, sys.Uid, sys.Gid, sys.Mtim.Nano())
		switch {
		case st.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			attr := make([]byte, 64)
			n, err := unix.Lgetxattr(path, "user.note", attr)
			line += fmt.Sprintf(" %s %q %v", digest.FromBytes(data).Encoded()[:8], attr[:max(n, 0)], err)
		case st.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		name, err := filepath.Rel(root, path)
		out[name] = line
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func sameTree(tb testing.TB, what string, got, want map[string]string) {
	tb.Helper()
	names := maps.Clone(got)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if got[name] != want[name] {
			tb.Errorf("%s: %s\n got %s\nwant %s", what, name, got[name], want[name])
		}
	}
}

// change does to a mounted tree what build steps do.
func change(tb testing.TB, root string, ids func(uid, gid uint32) [2]uint32) {
	tb.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	own := func(name string, uid, gid uint32) error {
		id := ids(uid, gid)
		return os.Lchown(at(name), int(id[0]), int(id[1]))
	}
	do := []error{
		os.Remove(at("gone")), os.RemoveAll(at("gonedir")),
		os.RemoveAll(at("opaque")), os.Mkdir(at("opaque"), 0o750), own("opaque", 0, 0),
		os.WriteFile(at("opaque/new"), []byte("n"), 0o600), own("opaque/new", 3, 4),
		os.RemoveAll(at("dir2file")), os.WriteFile(at("dir2file"), nil, 0o644), own("dir2file", 0, 0),
		os.Remove(at("file2dir")), os.Mkdir(at("file2dir"), 0o1777), own("file2dir", 1, 1),
		os.Chmod(at("file2dir"), 0o1777|fs.ModeSticky),
		os.WriteFile(at("usr/changed"), []byte("changed"), 0), own("usr/changed", 10, 0),
		os.Chmod(at("usr/suid"), 0o755|fs.ModeSetuid),
		os.Symlink("../nowhere", at("usr/link")), own("usr/link", 5, 5),
		os.WriteFile(at("h1"), []byte("hard"), 0o644), own("h1", 0, 0), os.Link(at("h1"), at("usr/h2")),
		unix.Mkfifo(at("fifo"), 0o622), own("fifo", 0, 0), unix.Chmod(at("fifo"), 0o622),
		unix.Lsetxattr(at("h1"), "user.note", []byte("zero\x00in it"), 0),
		os.WriteFile(at("sparse"), nil, 0o644), own("sparse", 0, 0), os.Truncate(at("sparse"), 3<<20),
		os.Chtimes(at("usr"), time.Unix(5, 7), time.Unix(5, 7)),
	}
	for i, err := range do {
		if err != nil {
			tb.Fatalf("change %d: %v", i, err)
		}
	}
}

func baseTree() []entry {
	return []entry{
		{name: "gone", content: "g"},
		{name: "gonedir/sub/file", content: "g"},
		{name: "opaque/", kind: tar.TypeDir},
		{name: "opaque/old", content: "o"},
		{name: "dir2file/", kind: tar.TypeDir},
		{name: "dir2file/x", content: "x"},
		{name: "file2dir", content: "f"},
		{name: "usr/", kind: tar.TypeDir},
		{name: "usr/changed", content: "before", uid: 9, gid: 9},
		{name: "usr/suid", content: "s"},
		{name: "usr/kept", content: "k", uid: 65535},
	}
}

func TestCommitRoundTrip(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		base := importTar(t, s, "base", baseTree()...)
		mnt := mountImage(t, s, "b", MountOptions{Layers: layersOf(t, s, base), StoreUpper: true})
		change(t, mnt.Root, func(uid, gid uint32) [2]uint32 { return callerIDs(t, m, uid, gid) })
		want := snapshot(t, mnt.Root)
		unmount(t, mnt)
		l, err := s.CommitUpper(t.Context(), mnt.Upper)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(mnt.Upper); !os.IsNotExist(err) {
			t.Errorf("upper directory is still there: %v", err)
		}
		img, err := s.PutImage(t.Context(), base.Config, append(base.LayerDescriptors(), l, LayerDescriptor{Empty: true}), []string{"built"})
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string) {
			mnt := mountImage(t, s, what, MountOptions{Layers: layersOf(t, s, img)})
			defer unmount(t, mnt)
			sameTree(t, what, snapshot(t, mnt.Root), want)
		}
		check("adopted")
		for _, l := range layersOf(t, s, img) {
			if err := layer.Remove(l.Dir); err != nil {
				t.Fatal(err)
			}
		}
		check("unpacked")
		top := layersOf(t, s, img)[1].Dir
		a, errA := os.Stat(filepath.Join(top, "h1"))
		b, errB := os.Stat(filepath.Join(top, "usr/h2"))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("h1 and usr/h2 are not one file any more: %v %v", errA, errB)
		}
	})
}

func TestCommitIsDeterministic(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		var got [2]LayerDescriptor
		for i := range got {
			upper := filepath.Join(s.path("tmp"), fmt.Sprint("upper", i))
			if err := os.Mkdir(upper, 0o755); err != nil {
				t.Fatal(err)
			}
			names := []string{"b", "a", "c"}
			if i == 1 {
				slices.Reverse(names)
			}
			for _, n := range append(names, "") {
				file := filepath.Join(upper, n)
				if n != "" {
					mustWrite(t, file, n)
				}
				if err := os.Lchown(file, 1, 1); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(file, testTime, testTime); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chtimes(upper, testTime, testTime); err != nil {
				t.Fatal(err)
			}
			var err error
			if got[i], err = s.CommitUpper(t.Context(), upper); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(upper); !os.IsNotExist(err) {
				t.Errorf("upper %d is still there: %v", i, err)
			}
		}
		if got[0].Descriptor.Digest != got[1].Descriptor.Digest {
			t.Errorf("the same tree gave %s and %s", got[0].Descriptor.Digest, got[1].Descriptor.Digest)
		}
	})
}

func TestCommitNothing(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		img := importTar(t, s, "x", entry{name: "f", content: "x"})
		mnt := mountImage(t, s, "x", MountOptions{Layers: layersOf(t, s, img), StoreUpper: true})
		if _, err := os.ReadFile(filepath.Join(mnt.Root, "f")); err != nil {
			t.Error(err)
		}
		unmount(t, mnt)
		l, err := s.CommitUpper(t.Context(), mnt.Upper)
		if err != nil || !l.Empty {
			t.Errorf("unchanged upper: %+v %v, want empty", l, err)
		}
	})
}

// A file whose owner is not of the image is a mistake of who wrote it, and
// must not turn into some owner silently.
func TestCommitRefusesForeignOwner(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		img := importTar(t, s, "x", entry{name: "f", content: "x"})
		mnt := mountImage(t, s, "x", MountOptions{Layers: layersOf(t, s, img), StoreUpper: true})
		mustWrite(t, filepath.Join(mnt.Root, "mine"), "as the mounter")
		unmount(t, mnt)
		if l, err := s.CommitUpper(t.Context(), mnt.Upper); err == nil {
			t.Errorf("got %+v, want an error", l)
		}
		left, err := os.ReadDir(s.path("tmp"))
		if err != nil || len(left) != 0 {
			t.Errorf("left in tmp: %v %v", left, err)
		}
	})
}
