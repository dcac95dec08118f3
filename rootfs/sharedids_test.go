// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// TestIDMappedMountsOfUsers is why a user's sandboxes share one range of ids (see
// SECURITY.md): layers cannot be shown to each with owners of its own. The kernel lets
// a mount be id-mapped only by root of the user namespace that its file system was
// mounted in, which for a user's files is the host's, and overlayfs not at all. A
// tmpfs of the user's shows that nothing else is in the way.
func TestIDMappedMountsOfUsers(t *testing.T) {
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		ns := namespaceBelow(t, m)
		dir := t.TempDir()
		var at []string
		for _, name := range []string{"layer", "upper", "work", "overlay", "tmpfs"} {
			at = append(at, filepath.Join(dir, name))
			if err := os.Mkdir(at[len(at)-1], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", at[0], at[1], at[2])
		for _, mount := range []error{
			unix.Mount("overlay", at[3], "overlay", 0, options), unix.Mount("tmpfs", at[4], "tmpfs", 0, "size=1m"),
		} {
			if mount != nil {
				t.Fatal(mount)
			}
		}
		for _, mounted := range at[3:] {
			t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
		}
		for _, c := range []struct {
			what, path string
			want       error
		}{{"a directory of the user's", at[0], unix.EPERM}, {"an overlay", at[3], unix.EINVAL}, {"a tmpfs", at[4], nil}} {
			switch err := idMap(c.path, ns); {
			case err == nil && c.want != nil:
				t.Logf("%s can be id-mapped by a user on this kernel: sandboxes could have ids of their own", c.what)
			case !errors.Is(err, c.want):
				t.Errorf("%s: %v, want %v", c.what, err, c.want)
			}
		}
	})
}

// idMap tries an id-mapped copy of what is mounted at path.
func idMap(path string, ns *os.File) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr)
}

// namespaceBelow makes a user namespace with the ids of a sandbox.
func namespaceBelow(t *testing.T, m idmap.Mapping) *os.File {
	t.Helper()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(m.Base), Size: int(m.Size)}}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: unix.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}
