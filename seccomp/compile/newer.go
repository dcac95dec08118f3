// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"github.com/opencontainers/runc/libcontainer/configs"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Parts of struct seccomp_data, see seccomp(2).
const (
	callAt = 0
	archAt = 4
)

const x32Bit = 1 << 30 // in the number of a system call of the x32 ABI

// last is the highest number of a system call that a profile names; 0 is none.
type last struct {
	number uint32
	x32    uint32 // of that ABI of x86-64
}

// unknownCalls returns the beginning of a program: a system call with a higher
// number than any that the profile names did not exist when it was written.
// Programs must see ENOSYS then, and do without, rather than its EPERM.
func unknownCalls(profile *configs.Seccomp) ([]unix.SockFilter, error) {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return nil, err
	}
	archs := []libseccomp.ScmpArch{native}
	for _, name := range profile.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		archs = append(archs, arch)
	}
	var order []uint32
	known := map[uint32]last{}
	for _, arch := range archs {
		audit, err := auditArch(arch)
		if err != nil {
			return nil, err
		}
		l, seen := known[audit]
		if !seen {
			order = append(order, audit)
		}
		n := lastCall(profile, arch)
		if arch == libseccomp.ArchX32 {
			l.x32 = n
		} else {
			l.number = n
		}
		known[audit] = l
	}
	return stub(order, known), nil
}

func auditArch(arch libseccomp.ScmpArch) (uint32, error) {
	switch arch {
	case libseccomp.ArchAMD64, libseccomp.ArchX32:
		return unix.AUDIT_ARCH_X86_64, nil
	case libseccomp.ArchX86:
		return unix.AUDIT_ARCH_I386, nil
	case libseccomp.ArchARM64:
		return unix.AUDIT_ARCH_AARCH64, nil
	case libseccomp.ArchARM:
		return unix.AUDIT_ARCH_ARM, nil
	default:
		return 0, fmt.Errorf("seccomp architecture %v", arch)
	}
}

// lastCall includes x32's bit for that ABI, as libseccomp's numbers do.
func lastCall(profile *configs.Seccomp, arch libseccomp.ScmpArch) uint32 {
	var highest libseccomp.ScmpSyscall
	for _, rule := range profile.Syscalls {
		// Below 0 are names that the architecture lacks.
		if n, err := libseccomp.GetSyscallFromNameByArch(rule.Name, arch); err == nil {
			highest = max(highest, n)
		}
	}
	return uint32(highest)
}

// stub is the program for what is known: one section an architecture.
func stub(order []uint32, known map[uint32]last) []unix.SockFilter {
	sections, total := make([][]unix.SockFilter, len(order)), 1
	for i, audit := range order {
		sections[i] = section(audit, known[audit])
		total += len(sections[i])
	}
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: archAt}}
	for _, s := range sections {
		program = append(program, s...)
		// The section's last instruction jumps to the profile's program.
		program[len(program)-1].K = uint32(total - len(program))
	}
	return program
}

// section is for one architecture, and is jumped over on another.
func section(audit uint32, l last) []unix.SockFilter {
	const enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	above := func(n uint32, yes, no uint8) unix.SockFilter {
		if n == 0 { // nothing is known, so nothing is unknown
			return jump(unix.BPF_JGE, 0, no, no)
		}
		return jump(unix.BPF_JGT, n, yes, no)
	}
	body := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: callAt}}
	if audit == unix.AUDIT_ARCH_X86_64 {
		body = append(body, jump(unix.BPF_JSET, x32Bit, 0, 1), above(l.x32, 1, 2))
	}
	body = append(body, above(l.number, 0, 1),
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: enosys},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	return append([]unix.SockFilter{jump(unix.BPF_JEQ, audit, 0, uint8(len(body)))}, body...)
}

func jump(kind uint16, value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, Jt: yes, Jf: no, K: value}
}
