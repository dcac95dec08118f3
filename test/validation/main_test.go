// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package validation_test runs the validation programs of
// opencontainers/runtime-tools against cpc-runtime. programs/go.mod pins them.
//
// Each program makes containers from bundles of its own and prints the Test
// Anything Protocol. It has a mount namespace and a /dev of its own here, as
// some bundles have the machine's devices changed. The test program is in front
// of cpc-runtime as well: the bundles' seccomp profile is of 2019, and lacks
// what an init needs today.
package validation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The environment in which the test program runs itself again.
const (
	envRuntime = "CPC_VALIDATION_RUNTIME" // stands in for this runtime
	envStates  = "CPC_VALIDATION_STATES"  // the runtime's --root
	envProgram = "CPC_VALIDATION_PROGRAM" // makes a place for this program
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envProgram) != "":
		fatal(isolate(os.Getenv(envProgram)))
	case os.Getenv(envRuntime) != "":
		fatal(standIn(os.Args[1:]))
	}
	m.Run()
}

// fatal ends a process that was to become another.
func fatal(err error) {
	fmt.Fprintln(os.Stderr, "validation:", err)
	os.Exit(1)
}

// isolate becomes the program, with a /dev of its own. Preconditions: in a new
// mount namespace.
func isolate(program string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("dev", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	unix.Umask(0)
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod("/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("mknod %s: %w", name, err)
		}
	}
	if err := unix.Mknod("/dev/tty", unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		return fmt.Errorf("mknod tty: %w", err)
	}
	unix.Umask(0o022)
	for dir, mount := range map[string][2]string{"pts": {"devpts", "newinstance,ptmxmode=0666,mode=0620"}, "shm": {"tmpfs", "mode=1777"}} {
		path := "/dev/" + dir
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, path, mount[0], unix.MS_NOSUID|unix.MS_NOEXEC, mount[1]); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	return unix.Exec(program, []string{program}, slices.DeleteFunc(os.Environ(), func(v string) bool {
		return v == envProgram+"="+program
	}))
}

// standIn becomes the runtime, which is asked to keep its states apart.
func standIn(args []string) error {
	if i := slices.Index(args, "--bundle"); i >= 0 && slices.Contains(args, "create") {
		if err := mendProfile(filepath.Join(args[i+1], "config.json")); err != nil {
			return err
		}
	}
	path := os.Getenv(envRuntime)
	argv := append([]string{path, "--root", os.Getenv(envStates)}, args...)
	return unix.Exec(path, argv, os.Environ())
}

// mendProfile allows what libcontainer's init calls after it has loaded a
// profile, where the profile allows less than everything.
func mendProfile(config string) error {
	data, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	linux, _ := spec["linux"].(map[string]any)
	profile, _ := linux["seccomp"].(map[string]any)
	if profile == nil || profile["defaultAction"] == string(specs.ActAllow) {
		return nil
	}
	calls, _ := profile["syscalls"].([]any)
	profile["syscalls"] = append(calls, map[string]any{
		"names": []string{
			"statx", "openat2", "close_range", "faccessat2", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount",
			"open_tree", "mount_setattr", "clone3", "rseq", "pidfd_open", "pidfd_send_signal", "epoll_pwait2",
		},
		"action": specs.ActAllow,
	})
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(config, data, 0o600)
}

// suite is the programs, and the directory that they are run in.
type suite struct {
	dir, programs, runtime string
}

// newSuite builds what is needed.
func newSuite(t *testing.T) suite {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cpc-validation-") //nolint:usetesting // bundles on tmpfs differ
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		removeGroups(t)
	})
	if err := os.Chmod(dir, 0o755); err != nil { // roots of user namespaces pass through
		t.Fatal(err)
	}
	s := suite{dir: dir, programs: filepath.Join(dir, "programs"), runtime: filepath.Join(dir, "cpc-runtime")}
	goTool(t, "programs", "CGO_ENABLED=0", "build", "-trimpath", "-ldflags=-s -w", "-o", s.programs+"/", "tool")
	goTool(t, "../..", "CGO_ENABLED=1", "build", "-trimpath", "-tags", "seccomp netgo osusergo",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", s.runtime, "./cmd/cpc-runtime")
	module := goTool(t, "programs", "CGO_ENABLED=0", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-tools")
	image := "rootfs-amd64.tar.gz"
	data, err := os.ReadFile(filepath.Join(module, image))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, image), data, 0o600)
	}
	if err == nil {
		err = os.Link(filepath.Join(s.programs, "runtimetest"), filepath.Join(dir, "runtimetest"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// removeGroups removes the cgroups that the programs' bundles name: parents, and what
// programs that failed have left.
func removeGroups(t *testing.T) {
	t.Helper()
	for _, name := range []string{"testdir/cgrouptest", "testdir", "cgrouptest"} {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			groups, err := filepath.Glob(pattern + name)
			if err != nil {
				t.Error(err)
			}
			for _, g := range groups {
				if err := os.Remove(g); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// command is one of the programs.
func (s suite) command(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(),
		"TMPDIR="+s.dir,
		"RUNTIME="+self,
		envRuntime+"="+s.runtime,
		envStates+"="+filepath.Join(s.dir, "states"),
		envProgram+"="+filepath.Join(s.programs, name),
	)
	return cmd
}
