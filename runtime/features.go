// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"strings"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// version is that of the module this binary was built from, as three numbers
// and what may follow them, and the commit.
func version() (number, commit string) {
	number, commit = "0.0.0-devel", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return number, commit
	}
	if v, ok := strings.CutPrefix(info.Main.Version, "v"); ok {
		number = v
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			commit += "-dirty"
		}
	}
	return number, commit
}

// VersionText is what --version prints of a program called name. Supervisors
// parse it: the first line by its "version", the others by what is before ":".
func VersionText(name string) string {
	var b strings.Builder
	number, commit := version()
	fmt.Fprintf(&b, "%s version %s\ncommit: %s\nspec: %s\ngo: %s\n", name, number, commit, specs.Version, goruntime.Version())
	if major, minor, micro := seccomp.Version(); major+minor+micro > 0 {
		fmt.Fprintf(&b, "libseccomp: %d.%d.%d\n", major, minor, micro)
	}
	return b.String()
}

// Features says what this runtime implements, see the features document of
// the OCI runtime specification.
func (r Runtime) Features() features.Features {
	yes, no := true, false
	number, commit := version()
	f := features.Features{
		OCIVersionMin: fmt.Sprintf("%d.0.0", specs.VersionMajor),
		OCIVersionMax: specs.Version,
		Hooks:         configs.KnownHookNames(),
		MountOptions:  append(specconv.KnownMountOptions(), copySymlink),
		Annotations: map[string]string{
			"io.github.claude-pocket-console.cpc-runtime.version": number,
			"io.github.claude-pocket-console.cpc-runtime.commit":  commit,
			// Why a process is started by libcontainer's init, and how often it was.
			"io.github.claude-pocket-console.cpc-runtime.long-way.reasons": reasonList(),
			"io.github.claude-pocket-console.cpc-runtime.long-way.counts":  strings.Join(r.LongWays(), " "),
			// What callers of runc look for.
			"org.opencontainers.runc.checkpoint.enabled": "true",
		},
		Linux: &features.Linux{
			Namespaces:      specconv.KnownNamespaces(),
			Capabilities:    capabilities.KnownCapabilities(),
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
			MemoryPolicy: &features.MemoryPolicy{
				Modes: specconv.KnownMemoryPolicyModes(), Flags: specconv.KnownMemoryPolicyFlags(),
			},
			Seccomp: &features.Seccomp{Enabled: &no},
		},
		PotentiallyUnsafeConfigAnnotations: []string{"bundle", "org.systemd.property.", "org.criu.config"},
	}
	if seccomp.Enabled {
		f.Linux.Seccomp = &features.Seccomp{
			Enabled: &yes, Actions: seccomp.KnownActions(), Operators: seccomp.KnownOperators(),
			Archs: seccomp.KnownArchs(), KnownFlags: seccomp.KnownFlags(), SupportedFlags: seccomp.SupportedFlags(),
		}
		major, minor, micro := seccomp.Version()
		f.Annotations["io.github.seccomp.libseccomp.version"] = fmt.Sprintf("%d.%d.%d", major, minor, micro)
	}
	return f
}
