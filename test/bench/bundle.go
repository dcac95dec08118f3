// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/seccomp"
)

//go:embed testdata/true.c
var trueSource string

//go:embed testdata/peak.c
var peakSource string

// bundle is what every runtime is given, the same as a sandbox of cpc.
type bundle struct {
	dir    string
	stage  string
	limits bool // can be set
	peaks  bool // are measured, which takes time
	made   int  // containers so far
}

func newBundle() (*bundle, error) {
	dir, err := os.MkdirTemp("/tmp", "cpc-speed-")
	if err != nil {
		return nil, err
	}
	b := &bundle{dir: dir}
	if err := b.fill(); err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

func (b *bundle) remove() { _ = os.RemoveAll(b.dir) } // of /tmp, and noticed there

func (b *bundle) fill() error {
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(b.dir, "rootfs", d), 0o755); err != nil {
			return err
		}
	}
	for program, source := range map[string]string{"rootfs/true": trueSource, "peak": peakSource} {
		cmd := exec.Command("gcc", "-static", "-Os", "-o", filepath.Join(b.dir, program), "-x", "c", "-")
		cmd.Dir, cmd.Stdin = b.dir, strings.NewReader(source)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("gcc: %w: %s", err, out)
		}
	}
	return nil
}

// write writes config.json for a container; a cgroup is made where that can be.
func (b *bundle) write(args ...string) error {
	b.made++
	id, tty := specs.LinuxIDMapping{ContainerID: 0, HostID: 0x20000000, Size: 65536}, "gid=5"
	switch b.stage {
	case asUser:
		id.HostID = 1
	case asPlain:
		id.HostID, id.Size, tty = uint32(os.Getuid()), 1, "newinstance" // there is no such group
	}
	ids := []specs.LinuxIDMapping{id}
	caps := []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}
	s := &specs.Spec{
		Version: "1.0.2", // what the oldest of them knows
		Process: &specs.Process{
			Args: args, Env: []string{"PATH=/"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "sandbox",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", tty}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
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
			Seccomp:       seccomp.Default(seccomp.Options{}),
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if b.stage == asRoot {
		s.Linux.CgroupsPath = fmt.Sprintf("/cpc/%s-%d", filepath.Base(b.dir), b.made)
	}
	if b.limits {
		memory, quota, period, pids := int64(64<<20), int64(100000), uint64(100000), int64(100)
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}, Pids: &specs.LinuxPids{Limit: &pids},
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, "config.json"), data, 0o600)
}
