// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	goruntime "runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Options are what a profile depends on.
type Options struct {
	// Arch is the machine's GOARCH; "" is this process's.
	Arch string
	// Caps are the sandbox's capabilities (its bounding set), as CAP_NAME.
	Caps []string
	// Kernel is the kernel's release, as in 6.12.3, which docker's profiles
	// may ask for; "" is the running one's.
	Kernel string
}

func (o Options) arch() string {
	if o.Arch == "" {
		return goruntime.GOARCH
	}
	return o.Arch
}

// architectures returns the ABIs that a sandbox may use: a call by another one
// kills the thread. 32-bit x86 is left out: its socketcall hides the family, and
// libseccomp, which adds it to every rule for socket, cannot hold both those
// that allow some families and those that say how the others fail.
func architectures(arch string) []specs.Arch {
	switch arch {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64}
	case "386":
		return []specs.Arch{specs.ArchX86}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	case "arm":
		return []specs.Arch{specs.ArchARM}
	}
	return nil // libseccomp's native one
}

// Default returns the profile that sandboxes run under unless told otherwise.
func Default(o Options) *specs.LinuxSeccomp {
	errno := uint(eperm)
	profile := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: &errno,
		Architectures:   architectures(o.arch()),
	}
	for _, g := range Allowed() {
		if !g.applies(o) {
			continue
		}
		if len(g.Args) == 0 {
			profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: g.Names, Action: specs.ActAllow})
		}
		for _, args := range g.Args {
			rule := specs.LinuxSyscall{Names: g.Names, Action: specs.ActAllow, Args: args}
			profile.Syscalls = append(profile.Syscalls, rule)
		}
	}
	for _, g := range Removed() {
		if g.Errno == 0 { // the default action
			continue
		}
		rule := specs.LinuxSyscall{Names: g.Names, Action: specs.ActErrno, ErrnoRet: &g.Errno}
		profile.Syscalls = append(profile.Syscalls, rule)
	}
	profile.Syscalls = append(profile.Syscalls, deniedSockets()...)
	return profile
}

func (g Group) applies(o Options) bool {
	if len(g.Arches) > 0 && !slices.Contains(g.Arches, o.arch()) {
		return false
	}
	return len(g.Caps) == 0 || slices.ContainsFunc(g.Caps, func(c string) bool { return slices.Contains(o.Caps, c) })
}
