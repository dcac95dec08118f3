// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A device of the host that is one of the standard streams stays whose it was; a
// pipe becomes the command's.
func TestDeviceOwner(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		if b.name != "root" {
			return // who can neither make a device nor give one away
		}
		dev := filepath.Join(b.dir, "dev") // in this test's own mount namespace
		if err := os.Mkdir(dev, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dev, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dev, unix.MNT_DETACH) })
		b.sleeper("sleeper")
		spec := b.spec("probe", "exit", "0")
		spec.Process.User.UID, spec.Process.User.GID = 1000, 1000
		b.write(spec)
		for number, name := range []string{3: "null", 5: "zero", 8: "random"} {
			path := filepath.Join(dev, name)
			if name == "" {
				continue
			}
			if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, uint32(number)))); err != nil {
				t.Fatal(err)
			}
			node, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			b.give(node)
			for _, args := range [][]string{{"run", "c1"}, {"exec", "-u", "1000", "sleeper", "probe", "exit", "0"}} {
				cmd := exec.Command(b.runtime, append([]string{"--root", b.states}, args...)...)
				cmd.Dir, cmd.Stdin = b.dir, node
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", args, err, out)
				}
				var st unix.Stat_t
				if err := unix.Fstat(int(node.Fd()), &st); err != nil || st.Uid != b.base {
					t.Errorf("%v: %s belongs to %d now (%v)", args, name, st.Uid, err)
				}
			}
			_ = node.Close()
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = r.Close(), w.Close() }()
		b.give(r)
		cmd := exec.Command(b.runtime, "--root", b.states, "run", "c1")
		cmd.Dir, cmd.Stdin = b.dir, r
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(r.Fd()), &st); err != nil || st.Uid != b.base+1000 {
			t.Errorf("the pipe belongs to %d, not to the command (%v)", st.Uid, err)
		}
	})
}

// give makes a file the container's root's, who may then give it to others.
func (b *bench) give(f *os.File) {
	b.t.Helper()
	if err := f.Chown(int(b.base), int(b.base)); err != nil {
		b.t.Fatal(err)
	}
}
