// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// inside is set in the copy of the test that has namespaces of its own: "root"
// for those of root, "user" for those of a user.
const inside = "CPC_DISK_TEST_INSIDE"

// enter runs the calling test once more in a mount and pid namespace of its
// own, whose end must take all with it, and reports whether it is there.
func enter(t *testing.T, who string) bool {
	t.Helper()
	if os.Getenv(inside) == who {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("root: mounts and loop devices")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+who, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	if who == "user" {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 70000}}
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("%s", out)
	}
	return false
}

func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Size: 64 << 20, Image: filepath.Join(dir, "image"), Target: filepath.Join(dir, "at"), Templates: filepath.Join(dir, "templates")}
	if err := os.Mkdir(o.Target, 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// fill writes until the disk is full, and returns how many bytes it took.
func fill(t *testing.T, path string) (total int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for total < 1<<30 {
		n, err := f.Write(chunk)
		total += int64(n)
		if errors.Is(err, unix.ENOSPC) {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no end of the disk after 1 GiB")
	return 0
}

// holds shows that a disk is bounded, and that files have owners and modes.
func holds(t *testing.T, o Options, want Tier) {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if d.Tier != want {
		t.Fatalf("tier %s (%s), want %s", d.Tier, strings.Join(d.Why, "; "), want)
	}
	file := filepath.Join(o.Target, "file")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o640), os.Chown(file, 5, 7)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 5 || st.Gid != 7 || info.Mode() != 0o640 {
		t.Errorf("owner %d:%d, mode %v", st.Uid, st.Gid, info.Mode())
	}
	if n := fill(t, filepath.Join(o.Target, "full")); n < d.Size*8/10 || n > d.Size {
		t.Errorf("%d bytes fit on a disk of %d", n, d.Size)
	}
	if info, err := os.Stat(o.Image); err == nil {
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > o.Size+1<<20 {
			t.Errorf("the image of %d bytes takes %d", o.Size, used)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(o.Image); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the image is left: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still mounted: %v", err)
	}
}

func TestLoop(t *testing.T) {
	if !enter(t, "root") {
		loopsOf(t, 0)
		return
	}
	o := options(t)
	o.Root, o.Upper = true, true
	holds(t, o, Loop)
	holds(t, o, Loop) // from the template
}

// loopsOf counts the loop devices that hold a disk of this test.
func loopsOf(t *testing.T, want int) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	counted := func() bool {
		n = 0
		for _, f := range files {
			if text, _ := os.ReadFile(f); strings.Contains(string(text), t.Name()) {
				n++
			}
		}
		return n == want
	}
	if !testkit.Within(testkit.Patience, counted) { // a namespace is taken down behind our back
		t.Fatalf("%d loop devices, want %d", n, want)
	}
}

// TestLoopIsGoneWithItsNamespace: a caller that is killed closes nothing.
func TestLoopIsGoneWithItsNamespace(t *testing.T) {
	if !enter(t, "root") {
		loopsOf(t, 0)
		return
	}
	o := options(t)
	o.Root = true
	if _, err := Open(o); err != nil {
		t.Fatal(err)
	}
	loopsOf(t, 1)
	os.Exit(0) // without any clean-up of the test's
}

// TestFUSE runs where the caller may open /dev/fuse: here as the host's root in
// a user namespace; as a user in the VM (test/vm/disk.sh).
func TestFUSE(t *testing.T) {
	program, err := findProgram("fuse2fs")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(program); err != nil || !bytes.Contains(text, []byte("libfuse3")) {
		t.Skip("fuse2fs with libfuse 3 (Debian 13)")
	}
	if !enter(t, "user") {
		return
	}
	o := options(t)
	holds(t, o, FUSE)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	// Without its server the disk is an error, not a hang.
	d.server.stop()
	if err := os.WriteFile(filepath.Join(o.Target, "x"), nil, 0o600); err == nil {
		t.Error("written without a server")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	if !enter(t, "user") {
		return
	}
	o := options(t)
	o.Upper, o.Memory = true, 80<<20
	holds(t, o, Memory)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if note := d.Note(); d.Size != 40<<20 || !strings.Contains(note, "40 MiB of its memory") || !strings.Contains(note, "loop: only root") {
		t.Errorf("%d bytes, %s", d.Size, note)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestTooSmall(t *testing.T) {
	if _, err := Open(Options{Size: MinSize - 1}); err == nil {
		t.Error("no error")
	}
}

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	const size = 256 << 20
	for _, at := range []int64{0, 10 << 20, size - 4096} {
		if _, err := from.WriteAt(bytes.Repeat([]byte{7}, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := copySparse(to, from, size); err != nil {
		t.Fatal(err)
	}
	info, err := to.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != size || used > 1<<20 {
		t.Errorf("%d bytes, %d on disk", info.Size(), used)
	}
	for at, want := range map[int64]byte{0: 7, 10<<20 + 4095: 7, 1 << 20: 0, size - 1: 7} {
		b := make([]byte, 1)
		if _, err := to.ReadAt(b, at); err != nil || b[0] != want {
			t.Errorf("byte %d: %d, %v", at, b[0], err)
		}
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	for i := range keptTemplates {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	forget(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != keptTemplates/2 {
		t.Errorf("%d left, %v", len(left), err)
	}
}

// TestHostIsFull: where the host has no room for what a disk holds the sandbox
// gets an error, and the disk can be taken down.
func TestHostIsFull(t *testing.T) {
	if !enter(t, "root") {
		loopsOf(t, 0)
		return
	}
	o := options(t)
	o.Root = true
	small := filepath.Join(t.TempDir(), "small")
	if err := errors.Join(os.Mkdir(small, 0o700), unix.Mount("small", small, "tmpfs", 0, "size=24m")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(small, unix.MNT_DETACH) }()
	o.Image = filepath.Join(small, "image")
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(o.Target, "big"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 48 {
		if _, err = f.Write(chunk); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Sync()); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EROFS) {
		t.Errorf("48 MiB on a host with 24: %v", err)
	}
	_ = f.Close()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
