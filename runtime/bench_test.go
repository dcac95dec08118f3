// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// The environment in which the test program runs itself again.
const (
	envTools   = "CPC_TEST_TOOLS"   // directory with the binaries under test
	envSetting = "CPC_TEST_SETTING" // name of the setting it is in
)

// plain is an ordinary user, without a namespace.
const plain = "plain"

// A setting is one of the situations that the monitor runs cpc-runtime in.
type setting struct {
	name string
	base uint32 // the id of the container's root, as cpc-runtime sees it
	size uint32
}

func settings() []setting {
	return []setting{
		{name: "root", base: 0x20000000, size: 65536},
		{name: "mapped", base: 1, size: 65536},
		{name: "single", base: 0, size: 1},
	}
}

func TestMain(m *testing.M) {
	defaultSignals()
	if os.Getenv(envSetting) == "" {
		withTools(m)
		return
	}
	if os.Getenv(envSetting) == plain {
		m.Run()
		return
	}
	// In a pid namespace of its own, like the monitor.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err != nil {
		panic(fmt.Errorf("set up the monitor's namespaces: %w", err))
	}
	m.Run()
}

// withTools builds the binaries, static as they are shipped.
func withTools(m *testing.M) {
	dir, err := os.MkdirTemp("/tmp", "cpc-runtime-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeTools(dir); err != nil {
		panic(err)
	}
	m.Run()
}

func makeTools(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	// The VM has no compiler: there the tools are built already.
	if from := os.Getenv("CPC_TEST_TOOLS"); from != "" {
		return copyTools(dir, map[string]string{
			"cpc-runtime": filepath.Join(from, "cpc-runtime"), "probe": filepath.Join(from, "probe"), "test": "/proc/self/exe",
		})
	}
	for name, build := range map[string][]string{
		"cpc-runtime": {
			"CGO_ENABLED=1", "-tags", "seccomp netgo osusergo",
			"-ldflags", "-s -w -linkmode external -extldflags -static", "../cmd/cpc-runtime",
		},
		"probe": {"CGO_ENABLED=0", "./testdata/probe"},
	} {
		args := append([]string{"build", "-trimpath", "-o", filepath.Join(dir, name)}, build[1:]...)
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), build[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return copyTools(dir, map[string]string{"test": "/proc/self/exe"})
}

// copyTools copies programs into dir, by name, and makes it known to the tests.
func copyTools(dir string, from map[string]string) error {
	for name, file := range from {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			return err
		}
	}
	return os.Setenv(envTools, dir)
}

// inSettings runs a test in each setting that the caller can set up.
func inSettings(t *testing.T, test func(b *bench)) {
	t.Helper()
	inside := os.Getenv(envSetting)
	for _, s := range settings() {
		if inside != "" && inside != s.name {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			switch {
			case inside == s.name, inside == "" && s.name == "root" && os.Geteuid() == 0:
				test(newBench(t, s))
			case s.name == "root":
				t.Skip("needs root")
			case s.name == "mapped" && os.Geteuid() != 0:
				t.Skip("needs root to write the id mapping")
			default:
				rerun(t, s)
			}
		})
	}
}

// rerun runs this one test in the namespaces of U0.
func rerun(t *testing.T, s setting) {
	t.Helper()
	// The reaper is pid 1: the end of a pid namespace waits for zombies in it
	// whose parent is outside, as a detached exec's is.
	tools := os.Getenv(envTools)
	cmd := exec.Command(filepath.Join(tools, "cpc-runtime"), "reaper", "--", filepath.Join(tools, "test"), "-test.run=^"+strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^")+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), envSetting+"="+s.name)
	host := os.Getuid()
	if host == 0 {
		host = 54321 // any ordinary user
	}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Credential: &syscall.Credential{NoSetGroups: true},
		Pdeathsig:  unix.SIGKILL,
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: host, Size: 1}}
	if s.name == "mapped" {
		ids = append(ids, syscall.SysProcIDMap{ContainerID: 1, HostID: 200000, Size: 65536})
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in setting %s: %v\n%s", s.name, err, out)
	}
	t.Logf("%s", out)
}

// bench is a place to make containers in.
type bench struct {
	setting

	t       *testing.T
	dir     string // bundle
	runtime string
	states  string
	cgroups int // made so far
}

func newBench(t *testing.T, s setting) *bench {
	t.Helper()
	// t.TempDir is closed to the container's root.
	dir, err := os.MkdirTemp("/tmp", "cpc-bench-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{setting: s, t: t, dir: dir, states: filepath.Join(dir, "state")}
	b.runtime = filepath.Join(os.Getenv(envTools), "cpc-runtime")
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		for _, g := range b.cgroupParents() {
			_ = os.Remove(g) // if nothing else is in it
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { // the container's root must get to rootfs
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	probe, err := os.ReadFile(filepath.Join(os.Getenv(envTools), "probe"))
	if err != nil {
		t.Fatal(err)
	}
	b.file("bin/probe", string(probe), 0o755)
	return b
}

func (b *bench) cgroupParents() []string {
	parents, _ := filepath.Glob("/sys/fs/cgroup/*/cpc")
	return append(parents, "/sys/fs/cgroup/cpc")
}

// file puts a file into the container.
func (b *bench) file(name, content string, mode os.FileMode) {
	b.t.Helper()
	path := filepath.Join(b.dir, "rootfs", name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		b.t.Fatal(err)
	}
}

// spec is a bundle like the monitor's, for a command of the probe.
func (b *bench) spec(args ...string) *specs.Spec {
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if b.size > 5 {
		pts = append(pts, "gid=5") // else the group has no id
	}
	caps := []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: b.base, Size: b.size}}
	s := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "sandbox",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=1777"}},
		},
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace},
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
		},
	}
	if b.name == "root" {
		memory, quota, period, pids := int64(64<<20), int64(50000), uint64(100000), int64(40)
		b.cgroups++
		s.Linux.CgroupsPath = fmt.Sprintf("/cpc/%s-%d", filepath.Base(b.dir), b.cgroups)
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory},
			CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
			Pids:   &specs.LinuxPids{Limit: &pids},
		}
	}
	return s
}

func (b *bench) write(s *specs.Spec) {
	b.t.Helper()
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "config.json"), data, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// result is what a run of cpc-runtime came to.
type result struct {
	code   int
	stdout string
	stderr string
}

func (b *bench) cli(args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.runtime, append([]string{"--root", b.states}, args...)...)
	cmd.Dir = b.dir
	cmd.WaitDelay = 5 * time.Second // for a container that keeps the output open
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// must runs a command that is to succeed.
func (b *bench) must(args ...string) result {
	b.t.Helper()
	r := b.cli(args...)
	if r.code != 0 {
		b.t.Fatalf("cpc-runtime %q: exit %d\n%s", args, r.code, r.stderr)
	}
	return r
}

// create makes a container with its output in a file, since a pipe would be
// kept open by it; it is deleted at the end of the test.
func (b *bench) create(id string, s *specs.Spec, flags ...string) {
	b.t.Helper()
	b.write(s)
	out, err := os.Create(filepath.Join(b.dir, id+".out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	args := append([]string{"--root", b.states, "--log", filepath.Join(b.dir, id+".log"), "create"}, flags...)
	cmd := exec.Command(b.runtime, append(args, id)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("create: %v: %s", err, b.output(id))
	}
	b.t.Cleanup(func() { b.must("delete", "--force", id) })
}

// quiet is cli for what leaves a container behind, with its output in a file.
func (b *bench) quiet(args ...string) result {
	b.t.Helper()
	out, err := os.CreateTemp(b.dir, "out-")
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(b.runtime, append([]string{"--root", b.states}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	if err != nil {
		b.t.Fatal(err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stderr: string(data)}
}

// output is what a created container has written.
func (b *bench) output(id string) string {
	data, err := os.ReadFile(filepath.Join(b.dir, id+".out"))
	if err != nil {
		b.t.Error(err)
	}
	return string(data)
}

// start creates and starts a container that sleeps.
func (b *bench) sleeper(id string) {
	b.t.Helper()
	b.create(id, b.spec("probe", "sleep"))
	b.must("start", id)
}

type state struct {
	Version string            `json:"ociVersion"`
	ID      string            `json:"id"`
	Pid     int               `json:"pid"`
	Status  string            `json:"status"`
	Bundle  string            `json:"bundle"`
	Notes   map[string]string `json:"annotations"`
	Owner   string            `json:"owner"`
}

func (b *bench) state(id string) state {
	b.t.Helper()
	var s state
	decode(b.t, b.must("state", id).stdout, &s)
	return s
}

func (b *bench) waitStatus(id, status string) {
	b.t.Helper()
	testkit.Eventually(b.t, testkit.Patience, "container "+id+" is "+status, func() bool { return b.state(id).Status == status })
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

// view is what the probe sees.
type view struct {
	Status      map[string]string `json:"status"`
	FDs         map[string]string `json:"fds"`
	UIDMap      []string          `json:"uidMap"`
	Cwd         string            `json:"cwd"`
	Hostname    string            `json:"hostname"`
	Nets        []string          `json:"nets"`
	Procs       int               `json:"procs"`
	Env         []string          `json:"env"`
	UID         int               `json:"uid"`
	GID         int               `json:"gid"`
	Groups      []int             `json:"groups"`
	Pid         int               `json:"pid"`
	RootWrite   string            `json:"rootWrite"`
	Args        []string          `json:"args"`
	InitThreads int               `json:"initThreads"`
	Pgid        int               `json:"pgid"`
	Foreground  int               `json:"foreground"`
}

// run makes one container and waits for its end.
func (b *bench) run(s *specs.Spec) result {
	b.t.Helper()
	b.write(s)
	return b.cli("run", "c1")
}
