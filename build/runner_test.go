// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// envRunner makes this test binary the first process of a RUN step.
const envRunner = "CPC_BUILD_TEST_RUNNER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(envRunner); spec != "" {
		err := runChild(spec)
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			os.Exit(127)
		}
		os.Exit(125)
	}
	modetest.Main(m)
}

// chrootRunner stands in for the sandbox: the step runs in user, mount and pid
// namespaces of its own, chrooted. For tests only. It leaves the mount points
// behind that a real runtime creates.
type chrootRunner struct{ count atomic.Int32 }

type childSpec struct {
	Args, Env []string
	Dir, User string
	Mounts    []Mount // their sources are descriptors from 4 on
}

func (r *chrootRunner) Run(ctx context.Context, s Process) (err error) {
	r.count.Add(1)
	spec, err := json.Marshal(childSpec{s.Args, s.Env, s.Dir, s.User, s.Mounts})
	if err != nil {
		return err
	}
	// A clone of its own, which alone can be a place to mount in.
	rootFD, err := unix.OpenTree(unix.AT_FDCWD, s.Rootfs, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	root := os.NewFile(uintptr(rootFD), s.Rootfs)
	defer func() { err = errors.Join(err, root.Close()) }()
	// unshare --map-auto, which tests as an ordinary user start in, leaves out
	// the range's last id.
	size := max(1, int(s.Mapping.Size)-1)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(s.Mapping.Base), Size: size}}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{envRunner + "=" + string(spec)}
	cmd.ExtraFiles = []*os.File{root}
	for _, m := range s.Mounts {
		if m.Source == "" {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("open_tree %s: %w", m.Source, err)
		}
		f := os.NewFile(uintptr(fd), m.Source)
		defer f.Close()
		if m.ReadOnly {
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
				return err
			}
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code := exit.ExitCode()
		if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
			code = 128 + int(st.Signal())
		}
		return &ExitError{Code: code}
	}
	return err
}

// runChild is the step's first process; descriptor 3 is its root.
func runChild(data string) error {
	var s childSpec
	if err := json.Unmarshal([]byte(data), &s); err != nil {
		return err
	}
	if err := unix.MoveMount(3, "", unix.AT_FDCWD, "/mnt", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	if err := errors.Join(unix.Close(3), unix.Chroot("/mnt"), unix.Chdir("/")); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	for _, d := range []string{"/proc", "/sys", "/dev", "/etc"} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"} {
		h, err := os.OpenFile(f, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if err := h.Close(); err != nil {
			return err
		}
	}
	if err := mountAll(s.Mounts); err != nil {
		return err
	}
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	if err := becomeUser(s.User); err != nil {
		return err
	}
	return findAndExec(s)
}

// mountAll mounts as a runtime does; the descriptors are detached mounts.
func mountAll(mounts []Mount) error {
	fd := 4
	for _, m := range mounts {
		isDir := true
		if m.Source != "" {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			isDir = st.Mode&unix.S_IFMT == unix.S_IFDIR
		}
		if err := mountPoint(m.Target, isDir); err != nil {
			return err
		}
		if m.Source == "" {
			if err := unix.Mount("tmpfs", m.Target, "tmpfs", 0, ""); err != nil {
				return err
			}
			continue
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
		unix.CloseOnExec(fd)
		fd++
	}
	return nil
}

func mountPoint(p string, isDir bool) error {
	if isDir {
		return os.MkdirAll(p, 0o755)
	}
	if err := os.MkdirAll(path.Dir(p), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_RDONLY, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}

func becomeUser(name string) error {
	if name == "" {
		return nil
	}
	uid, gid := 0, 0
	if n, err := strconv.Atoi(name); err == nil {
		uid, gid = n, n
	} else {
		data, err := os.ReadFile("/etc/passwd")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(line, ":"); f[0] == name {
				uid, _ = strconv.Atoi(f[2])
				gid, _ = strconv.Atoi(f[3])
			}
		}
	}
	return errors.Join(syscall.Setgid(gid), syscall.Setuid(uid))
}

func findAndExec(s childSpec) error {
	if strings.Contains(s.Args[0], "/") {
		return unix.Exec(s.Args[0], s.Args, s.Env)
	}
	for _, kv := range s.Env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(path, ":") {
			p := dir + "/" + s.Args[0]
			if unix.Access(p, unix.X_OK) == nil {
				return unix.Exec(p, s.Args, s.Env)
			}
		}
	}
	return fmt.Errorf("%s: %w", s.Args[0], exec.ErrNotFound)
}
