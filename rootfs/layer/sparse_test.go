// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func formatInt(n, base int) string { return strconv.FormatInt(int64(n), base) }

func TestUnpackKeepsHoles(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) {
		m := t.Mapping
		dir := t.TempDir()
		if err := Unpack(t.Context(), bytes.NewReader(sparse(64<<20)), dir, UnpackOptions{Mapping: m}); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "hole"), &st); err != nil || st.Size != 64<<20 || st.Blocks > 64 {
			t.Errorf("size %d in %d blocks: %v", st.Size, st.Blocks, err)
		}
	})
}

func TestUnpackFullDisk(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		}()
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		big := bytes.Repeat([]byte("full"), 1<<16)
		if err := tw.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: int64(len(big))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(big); err != nil {
			t.Fatal(err)
		}
		err := Unpack(t.Context(), &buf, dir, UnpackOptions{Mapping: m})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v, want ENOSPC with the directory", err)
		}
	})
}

func TestRemoveDeepAndOdd(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		m := t.Mapping
		top := filepath.Join(t.TempDir(), "tree")
		if err := os.Mkdir(top, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(top, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		// Far deeper than a path can say, with a file and modes that forbid all.
		for i := range 2500 {
			if err := unix.Mkdirat(fd, "deep", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mknodat(fd, "fifo", unix.S_IFIFO, 0); err != nil {
				t.Fatal(err)
			}
			next, err := openDir(fd, "deep")
			if err != nil {
				t.Fatal(err)
			}
			owner, err := m.ToStore(uint32(i) % m.Size)
			if err == nil {
				err = errors.Join(unix.Fchown(next, int(owner), int(owner)), unix.Fchmod(next, 0), unix.Close(fd))
			}
			if err != nil {
				t.Fatal(err)
			}
			fd = next
		}
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
		if err := Remove(top); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Dir(top)); err != nil || len(left) != 0 {
			t.Errorf("left: %v %v", left, err)
		}
		if err := Remove(top); err != nil {
			t.Errorf("remove what is not there: %v", err)
		}
	})
}

// A removal that was interrupted has left its siblings; the next one ends it.
func TestRemoveGoesOn(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) {
		top := filepath.Join(t.TempDir(), "tree")
		for _, d := range []string{".rm/0/a/b", ".rm/1", ".rm/top/c/d", "/e/f"} {
			if err := os.MkdirAll(top+d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := Remove(top); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Dir(top)); err != nil || len(left) != 0 {
			t.Errorf("left: %v %v", left, err)
		}
	})
}
