// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

const envCrashDir = "CPC_TEST_CRASH_DIR"

// TestCrashVictim imports its standard input, as a process of TestKilledImport.
func TestCrashVictim(t *testing.T) {
	dir := os.Getenv(envCrashDir)
	if dir == "" {
		t.Skip("runs as a process of TestKilledImport only")
	}
	s, err := Open(Options{Dir: dir, Mapping: idmap.ForSingle()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), os.Stdin, "never", ImportOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A process that is killed while it imports leaves what the next Open removes,
// and no image.
func TestKilledImport(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		importTar(t, s, "kept", entry{name: "f"})
		before := files(t, s)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrashVictim$")
		cmd.Env = append(os.Environ(), envCrashDir+"="+s.Options().Dir)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		data := tarOf(t, entry{name: "a", content: strings.Repeat("a", 1<<20)}, entry{name: "b", content: "b"})
		if _, err := in.Write(data[:1<<20]); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, testkit.Patience, "an unfinished layer", func() bool { return len(files(t, s)) == len(before)+2 })
		if _, err := Open(s.Options()); err != nil || len(files(t, s)) != len(before)+2 {
			t.Errorf("Open beside a living import: %v, %v", err, files(t, s))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the import ended well")
		}
		if _, err := Open(s.Options()); err != nil {
			t.Fatal(err)
		}
		if after := files(t, s); !slices.Equal(after, before) {
			t.Errorf("left: %v, want %v", after, before)
		}
		if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 1 {
			t.Errorf("images: %v %v", imgs, err)
		}
	})
}

func TestImportOntoFullDisk(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		if err := unix.Mount("tmpfs", s.Options().Dir, "tmpfs", 0, "size=1m,mode=700"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(s.Options().Dir, 0); err != nil {
				t.Error(err)
			}
		}()
		small, err := Open(s.Options())
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 3<<20)
		rand.NewChaCha8([32]byte{}).Read(noise) //nolint:errcheck // never fails
		data := tarOf(t, entry{name: "big", content: string(noise)})
		_, err = small.Import(t.Context(), bytes.NewReader(data), "x", ImportOptions{})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), s.Options().Dir) {
			t.Errorf("%v, want ENOSPC with the directory", err)
		}
		t.Log(err)
		if left := files(t, small); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}
