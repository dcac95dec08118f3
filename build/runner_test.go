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
	"strconv"
	"strings"
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
type chrootRunner struct{ runs int }

type childSpec struct {
	Args, Env []string
	Dir, User string
}

func (r *chrootRunner) Run(ctx context.Context, s Step) (err error) {
	r.runs++
	spec, err := json.Marshal(childSpec{s.Args, s.Env, s.Dir, s.User})
	if err != nil {
		return err
	}
	root, err := os.OpenFile(s.Rootfs, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// unshare --map-auto, which tests as an ordinary user start in, leaves out
	// the range's last id.
	size := max(1, int(s.Mapping.Size)-1)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(s.Mapping.Base), Size: size}}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{envRunner + "=" + string(spec)}
	cmd.ExtraFiles = []*os.File{root}
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
	if err := errors.Join(unix.Fchdir(3), unix.Chroot("."), unix.Close(3)); err != nil {
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
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	if err := becomeUser(s.User); err != nil {
		return err
	}
	return findAndExec(s)
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
