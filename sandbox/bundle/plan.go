// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// stopSignalKey is what the image specification calls the stop signal.
const stopSignalKey = "org.opencontainers.image.stopSignal"

// systemdKey would set properties of the sandbox's scope past the plan.
const systemdKey = "org.systemd.property."

// Annotations that say which disk the sandbox has.
const (
	diskTierKey = "io.cpc.disk.tier"
	diskSizeKey = "io.cpc.disk.size" // bytes
)

// ownerKey has cpc-runtime make the sandbox's private range of ids the owner of
// its user namespace, whose quotas then are not root's.
const ownerKey = "io.cpc.userns.owner"

// bundleVersion is the oldest version of the runtime specification that has all
// that is planned here: older runtimes (crun 1.8) refuse a bundle by its number.
const bundleVersion = "1.0.2"

// Plan returns the config.json of a sandbox.
func Plan(in Input) (*specs.Spec, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	process, err := in.process()
	if err != nil {
		return nil, err
	}
	mounts, err := in.mounts()
	if err != nil {
		return nil, err
	}
	annotations, err := in.annotations()
	if err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version:     bundleVersion,
		Process:     process,
		Root:        &specs.Root{Path: in.Rootfs, Readonly: in.ReadOnly},
		Hostname:    in.hostname(),
		Domainname:  in.Domainname,
		Mounts:      mounts,
		Annotations: annotations,
		Linux:       in.linux(),
	}, nil
}

func (in *Input) check() error {
	m := in.Mapping
	switch {
	case !filepath.IsAbs(in.Rootfs):
		return fmt.Errorf("root filesystem %q: not an absolute path", in.Rootfs)
	case in.ID == "":
		return errors.New("no sandbox id")
	case m.Mode != idmap.Root && m.Mode != idmap.Mapped && m.Mode != idmap.Single:
		return fmt.Errorf("id mapping mode %q: unknown", m.Mode)
	case m.Size == 0 || m.Mode == idmap.Root && m.Base < idmap.Size:
		return fmt.Errorf("id mapping %+v: would give the sandbox ids of the host", m)
	case in.Network != NetworkNone && in.Network != NetworkAllowlist && in.Network != NetworkHost:
		return fmt.Errorf("network %q: not none, allowlist or host", in.Network)
	case in.Seccomp == nil && in.Options.Seccomp != SeccompUnconfined:
		return errors.New("no seccomp profile was loaded")
	case in.Seccomp != nil && in.Options.Seccomp == SeccompUnconfined:
		return errors.New("a seccomp profile was loaded though unconfined was asked for")
	case in.ShmSize < 0:
		return fmt.Errorf("shm size %d: negative", in.ShmSize)
	}
	return dockerflag.CheckHostname(in.hostname())
}

func (in *Input) hostname() string {
	if in.Hostname != "" {
		return in.Hostname
	}
	return in.ID[:min(12, len(in.ID))]
}

func (in *Input) linux() *specs.Linux {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: in.Mapping.Base, Size: in.Mapping.Size}}
	namespaces := []specs.LinuxNamespace{
		{Type: specs.UserNamespace},
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.CgroupNamespace},
	}
	if in.Network != NetworkHost {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return &specs.Linux{
		UIDMappings:   ids,
		GIDMappings:   ids,
		Namespaces:    namespaces,
		Resources:     in.Cgroup.Resources,
		Sysctl:        in.sysctls(),
		CgroupsPath:   in.Cgroup.Path,
		Seccomp:       in.Seccomp,
		MountLabel:    in.Confine.MountLabel,
		MaskedPaths:   slices.Concat(maskedPaths(), in.Host.Thermal, in.Host.Disks),
		ReadonlyPaths: readonlyPaths(),
	}
}

// annotations are the caller's, and the signal that stops the sandbox: the
// monitor and foreign supervisors find it there.
func (in *Input) annotations() (map[string]string, error) {
	out := maps.Clone(in.Annotations)
	if out == nil {
		out = map[string]string{}
	}
	for k := range out {
		if strings.HasPrefix(k, systemdKey) {
			return nil, fmt.Errorf("annotation %s: would change the sandbox's systemd scope", k)
		}
	}
	if in.Disk != nil {
		out[diskTierKey], out[diskSizeKey] = in.Disk.Tier, strconv.FormatInt(in.Disk.Size, 10)
	}
	delete(out, ownerKey)
	if in.Mapping.NeedsIDMappedLayers() {
		out[ownerKey] = "root"
	}
	name := in.StopSignal
	if name == "" {
		name = in.Image.StopSignal
	}
	if name == "" {
		name = "SIGTERM"
	}
	signal, err := dockerflag.ParseSignal(name)
	if err != nil {
		return nil, fmt.Errorf("stop signal: %w", err)
	}
	out[stopSignalKey] = dockerflag.SignalName(signal)
	return out, nil
}

// maskedPaths are docker's, and what else tells of the host and is not
// separated by namespace: each tells too much, or has once (/proc/interrupts and
// softirqs: keystroke timing, powercap: CVE-2020-8694; cmdline: the host's disks
// and secrets of its boot loader; pressure, diskstats: what the neighbours do).
// The ones that do not exist are skipped by the runtime.
func maskedPaths() []string {
	return []string{
		"/proc/acpi",
		"/proc/allocinfo",
		"/proc/asound",
		"/proc/bootconfig",
		"/proc/buddyinfo",
		"/proc/cmdline",
		"/proc/config.gz",
		"/proc/diskstats",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/mdstat",
		"/proc/modules",
		"/proc/partitions",
		"/proc/pressure",
		"/proc/sched_debug",
		"/proc/schedstat",
		"/proc/scsi",
		"/proc/softirqs",
		"/proc/swaps",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/proc/zoneinfo",
		"/sys/block",
		"/sys/class/block",
		"/sys/dev/block",
		"/sys/devices/virtual/dmi",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
		"/sys/fs/btrfs",
		"/sys/fs/ext4",
		"/sys/fs/f2fs",
		"/sys/fs/xfs",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
