// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package compile makes filters for the kernel of seccomp profiles, as libcontainer
// does, and keeps them, because that takes a quarter of a start. It is the part of
// seccomp that needs cgo, and links libseccomp: it is for cpc-runtime alone.
package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Filter is a compiled seccomp profile.
type Filter struct {
	Program []unix.SockFilter
	Flags   uint32 // SECCOMP_FILTER_FLAG_*
}

// maxProgram is the kernel's limit, in instructions.
const maxProgram = 4096

// filterFormat names the file format, and what Profile makes of a profile: a
// change of either is a new one.
const filterFormat = "cpc2"

// version tells apart what programs may make of one profile.
func version() string {
	major, minor, micro := libseccomp.GetLibraryVersion()
	return fmt.Sprintf("%s %d.%d.%d", filterFormat, major, minor, micro)
}

// Encode makes a file of a filter, for this machine only.
func (f *Filter) Encode() []byte {
	body := binary.NativeEndian.AppendUint32(nil, f.Flags)
	body, _ = binary.Append(body, binary.NativeEndian, f.Program) // fixed size: cannot fail
	sum := sha256.Sum256(body)
	return append(append([]byte(filterFormat), sum[:]...), body...)
}

// Decode is the inverse of Encode. A file that is not whole is refused.
func Decode(data []byte) (*Filter, error) {
	const head = len(filterFormat) + sha256.Size
	if len(data) <= head+4 || (len(data)-head-4)%8 != 0 || (len(data)-head-4)/8 > maxProgram || string(data[:len(filterFormat)]) != filterFormat {
		return nil, errors.New("not a filter")
	}
	body := data[head:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[len(filterFormat):head]) {
		return nil, errors.New("a damaged filter")
	}
	f := &Filter{Flags: binary.NativeEndian.Uint32(body), Program: make([]unix.SockFilter, (len(body)-4)/8)}
	_, err := binary.Decode(body[4:], binary.NativeEndian, f.Program)
	return f, err
}

// Profile makes the filter that libcontainer would load for a profile: the same
// rules, in front of them ENOSYS for system calls newer than the profile. It
// refuses what needs more than a program (a listener).
func Profile(profile *configs.Seccomp) (*Filter, error) {
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	filter, err := libseccomp.NewFilter(fallback)
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	for _, name := range profile.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		if err == nil {
			err = filter.AddArch(arch)
		}
		if err != nil {
			return nil, fmt.Errorf("architecture %s: %w", name, err)
		}
	}
	f := &Filter{}
	if f.Flags, err = filterFlags(profile.Flags); err != nil {
		return nil, err
	}
	if len(profile.Syscalls) > 32 {
		_ = filter.SetOptimize(2) // a tree; where libseccomp is too old, a list
	}
	for _, rule := range profile.Syscalls {
		if err := addRule(filter, rule, fallback); err != nil {
			return nil, err
		}
	}
	if f.Program, err = export(filter); err != nil {
		return nil, err
	}
	switch profile.DefaultAction {
	case configs.Allow, configs.Log, configs.Trace:
		return f, nil
	default:
	}
	newer, err := unknownCalls(profile)
	f.Program = append(newer, f.Program...)
	return f, err
}

func filterFlags(flags []specs.LinuxSeccompFlag) (bits uint32, err error) {
	api, _ := libseccomp.GetAPI() // 0 when too old to tell
	for _, flag := range flags {
		switch flag {
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is one thread
		case specs.LinuxSeccompFlagLog:
			if api < 3 {
				return 0, fmt.Errorf("seccomp flag %s: too new", flag)
			}
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			if api < 4 {
				return 0, fmt.Errorf("seccomp flag %s: too new", flag)
			}
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default:
			return 0, fmt.Errorf("seccomp flag %s", flag)
		}
	}
	return bits, nil
}

func action(a configs.Action, errno *uint) (libseccomp.ScmpAction, error) {
	code := int16(unix.EPERM)
	if errno != nil {
		code = int16(*errno)
	}
	switch a {
	case configs.Kill, configs.KillThread:
		return libseccomp.ActKillThread, nil
	case configs.KillProcess:
		return libseccomp.ActKillProcess, nil
	case configs.Errno:
		return libseccomp.ActErrno.SetReturnCode(code), nil
	case configs.Trace:
		return libseccomp.ActTrace.SetReturnCode(code), nil
	case configs.Trap:
		return libseccomp.ActTrap, nil
	case configs.Allow:
		return libseccomp.ActAllow, nil
	case configs.Log:
		return libseccomp.ActLog, nil
	case configs.Notify:
	}
	return 0, fmt.Errorf("seccomp action %d", a)
}

func addRule(filter *libseccomp.ScmpFilter, rule *configs.Syscall, fallback libseccomp.ScmpAction) error {
	if rule == nil || rule.Name == "" {
		return errors.New("seccomp rule without a name")
	}
	act, err := action(rule.Action, rule.ErrnoRet)
	if err != nil || act == fallback {
		return err
	}
	number, err := libseccomp.GetSyscallFromName(rule.Name)
	if err != nil {
		return nil //nolint:nilerr // no system call here has this name
	}
	if len(rule.Args) == 0 {
		err = filter.AddRule(number, act)
	}
	all, twice, cerr := conditions(rule.Args)
	switch {
	case cerr != nil:
		err = cerr
	case twice: // on one argument: any of them will do
		for _, c := range all {
			if err == nil {
				err = filter.AddRuleConditional(number, act, []libseccomp.ScmpCondition{c})
			}
		}
	case len(all) > 0:
		err = filter.AddRuleConditional(number, act, all)
	}
	if err != nil {
		return fmt.Errorf("seccomp rule for %s: %w", rule.Name, err)
	}
	return nil
}

// conditions also says whether two of them are about the same argument.
func conditions(args []*configs.Arg) (all []libseccomp.ScmpCondition, twice bool, err error) {
	operators := map[configs.Operator]libseccomp.ScmpCompareOp{
		configs.EqualTo: libseccomp.CompareEqual, configs.NotEqualTo: libseccomp.CompareNotEqual,
		configs.GreaterThan: libseccomp.CompareGreater, configs.GreaterThanOrEqualTo: libseccomp.CompareGreaterEqual,
		configs.LessThan: libseccomp.CompareLess, configs.LessThanOrEqualTo: libseccomp.CompareLessOrEqual,
		configs.MaskEqualTo: libseccomp.CompareMaskedEqual,
	}
	var seen [6]bool
	for _, arg := range args {
		if arg == nil || arg.Index >= uint(len(seen)) {
			return nil, false, errors.New("no such argument")
		}
		op, ok := operators[arg.Op]
		if !ok {
			return nil, false, fmt.Errorf("operator %d", arg.Op)
		}
		c, err := libseccomp.MakeCondition(arg.Index, op, arg.Value, arg.ValueTwo)
		if err != nil {
			return nil, false, err
		}
		twice = twice || seen[arg.Index]
		seen[arg.Index] = true
		all = append(all, c)
	}
	return all, twice, nil
}

// export takes the program from libseccomp, which writes to descriptors only.
func export(filter *libseccomp.ScmpFilter) ([]unix.SockFilter, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer func() { _ = file.Close() }()
	if err := filter.ExportBPF(file); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	if _, err := file.ReadAt(data, 0); err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(data)/8)
	_, err = binary.Decode(data, binary.NativeEndian, program)
	return program, err
}
