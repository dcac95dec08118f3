// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func checkAction(a specs.LinuxSeccompAction, errno *uint) error {
	if a == specs.ActNotify {
		return fmt.Errorf("%s: notification is not supported", a)
	}
	if !slices.Contains(actions(), a) {
		return fmt.Errorf("unknown action %q", a)
	}
	if errno == nil {
		return nil
	}
	if a != specs.ActErrno && a != specs.ActTrace {
		return fmt.Errorf("errnoRet: not possible with %s", a)
	}
	if *errno > maxErrno {
		return fmt.Errorf("errnoRet %d: larger than %d", *errno, maxErrno)
	}
	return nil
}

func validName(name string) bool {
	return name != "" && len(name) <= 64 && strings.IndexFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_'
	}) < 0
}

// kernelVersion returns major and minor of release, or of the running kernel.
func kernelVersion(release string) ([2]uint64, error) {
	if release == "" {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return [2]uint64{}, fmt.Errorf("uname: %w", err)
		}
		release = unix.ByteSliceToString(u.Release[:])
	}
	return parseKernel(release)
}

func parseKernel(release string) (v [2]uint64, err error) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return v, fmt.Errorf("kernel version %q: want MAJOR.MINOR", release)
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	for i, p := range []string{parts[0], minor} {
		if v[i], err = strconv.ParseUint(p, 10, 16); err != nil {
			return v, fmt.Errorf("kernel version %q: want MAJOR.MINOR", release)
		}
	}
	return v, nil
}

func actions() []specs.LinuxSeccompAction {
	return []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace,
		specs.ActAllow, specs.ActLog,
	}
}

func operators() []specs.LinuxSeccompOperator {
	return []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
		specs.OpGreaterThan, specs.OpMaskedEqual,
	}
}

func flags() []specs.LinuxSeccompFlag {
	return []specs.LinuxSeccompFlag{
		"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow,
		specs.LinuxSeccompFlagWaitKillableRecv,
	}
}

func knownArches() []specs.Arch {
	return []specs.Arch{
		specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS,
		specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC,
		specs.ArchPARISC64, specs.ArchRISCV64, "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
	}
}
