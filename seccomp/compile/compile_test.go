// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	libcontainer "github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/seccomp"
)

const envProfile = "CPC_TEST_PROFILE" // the test runs itself to load this one

func TestMain(m *testing.M) {
	if name := os.Getenv(envProfile); name != "" {
		os.Exit(loadAndWait(name))
	}
	os.Exit(m.Run())
}

// loadAndWait has libcontainer load a filter, and waits to be looked at.
// It calls nothing by pid: where a filter denies getpid, that is everybody.
func loadAndWait(name string) int {
	profile := profiles()[name]
	goruntime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 1
	}
	if _, err := libcontainer.InitSeccomp(profile); err != nil {
		return 1
	}
	time.Sleep(time.Minute)
	return 0
}

func profiles() map[string]*configs.Seccomp {
	errno, trace := uint(unix.ENOSYS), uint(7)
	arg := func(op specs.LinuxSeccompOperator, index uint, v uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: index, Op: op, Value: v}}
	}
	// What Go's runtime needs.
	goCalls := specs.LinuxSyscall{Action: specs.ActAllow, Names: []string{
		"read", "write", "exit", "exit_group", "futex", "nanosleep", "clock_nanosleep", "epoll_wait", "epoll_pwait", "epoll_ctl", "sched_yield",
		"mmap", "munmap", "madvise", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "clone3", "getpid", "gettid", "tgkill", "restart_syscall",
	}}
	specs := map[string]*specs.LinuxSeccomp{
		"default": seccomp.Default(seccomp.Options{}),
		"archs": {
			DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
			Syscalls: []specs.LinuxSyscall{
				goCalls,
				{Names: []string{"nosuch", "socketcall", "lseek"}, Action: specs.ActAllow},
				{Names: []string{"openat"}, Action: specs.ActErrno, ErrnoRet: &trace},
				{Names: []string{"close"}, Action: specs.ActErrno},
				{Names: []string{"personality"}, Action: specs.ActAllow, Args: arg(specs.OpEqualTo, 0, 8)},
				{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: specs.OpMaskedEqual, Value: 0x7e020000, ValueTwo: 0x20000}}},
				{Names: []string{"socket"}, Action: specs.ActTrace, Args: append(arg(specs.OpGreaterThan, 0, 3), arg(specs.OpLessEqual, 0, 1)...)},
				{Names: []string{"dup3"}, Action: specs.ActLog, Args: append(arg(specs.OpGreaterEqual, 0, 3), arg(specs.OpLessThan, 1, 9)...)},
				{Names: []string{"ptrace"}, Action: specs.ActKillProcess},
			},
		},
		"enosys": {DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno, Syscalls: []specs.LinuxSyscall{goCalls}},
		"allow":  {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mount", "bpf"}, Action: specs.ActErrno}}},
		"flags": {
			DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActKillThread}},
		},
	}
	all := map[string]*configs.Seccomp{}
	for name, s := range specs {
		c, err := specconv.SetupSeccomp(s)
		if err != nil {
			panic(err)
		}
		all[name] = c
	}
	return all
}

// The filter answers every system call as the one that libcontainer loads.
func TestCompileSame(t *testing.T) {
	if os.Geteuid() != 0 || goruntime.GOARCH != "amd64" {
		t.Skip("reading another process's filter needs root; the system calls are those of amd64")
	}
	for name, profile := range profiles() {
		want := loaded(t, name)
		f, err := Profile(profile)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := Decode(f.Encode())
		if err != nil || got.Flags != f.Flags {
			t.Fatalf("%s: encoded: %v", name, err)
		}
		differ := 0
		for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
			for nr := range uint32(700) {
				for _, number := range []uint32{nr, nr | x32Bit} {
					for _, arg := range []uint64{0, 1, 2, 3, 4, 7, 8, 9, 17, 40, 0x20000, 0x7e020000, 1 << 32, ^uint64(0)} {
						call := data(arch, number, arg)
						if a, b := interpret(t, want, call), interpret(t, got.Program, call); a != b && differ < 5 {
							differ++
							t.Errorf("%s: arch %#x, call %d (%#x), arguments %#x: libcontainer %#x, here %#x", name, arch, nr, number, arg, a, b)
						}
					}
				}
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, p := range map[string]*configs.Seccomp{
		"listener": {DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{{Name: "mount", Action: configs.Notify}}},
		"flag":     {DefaultAction: configs.Allow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}},
		"action":   {DefaultAction: 99},
		"operator": {DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{{Name: "mount", Action: configs.Errno, Args: []*configs.Arg{{Op: 99}}}}},
		"index":    {DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{{Name: "mount", Action: configs.Errno, Args: []*configs.Arg{{Index: 6, Op: configs.EqualTo}}}}},
		"nil":      {DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{nil}},
		"arch":     {DefaultAction: configs.Errno, Architectures: []string{"nosuch"}},
	} {
		if _, err := Profile(p); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("cpc1\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\xff\x7f"))
	f.Add([]byte("cpc1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		filter, err := Decode(data)
		if err == nil && !bytes.Equal(filter.Encode(), data) {
			t.Errorf("%q is read as another", data)
		}
	})
}

// loaded reads the filter of a process in which libcontainer has loaded it. That
// one is alone in a pid namespace.
func loaded(t *testing.T, name string) []unix.SockFilter {
	t.Helper()
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr = []string{envProfile + "=" + name}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Cloneflags: unix.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	traced := 0
	defer func() {
		// A process with a thread that is traced does not end before its tracer has waited
		// for that thread.
		followed := traced != 0 && unix.PtraceDetach(traced) != nil
		_ = cmd.Process.Kill()
		if followed && traced != cmd.Process.Pid {
			_, _ = unix.Wait4(traced, nil, unix.WALL, nil)
		}
		_ = cmd.Wait()
	}()
	tid := filtered(t, cmd.Process.Pid)
	if err := unix.PtraceSeize(tid); err != nil {
		t.Fatal(err)
	}
	traced = tid
	if err := unix.PtraceInterrupt(tid); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, testkit.Patience, name+": the thread stops", func() bool {
		var status unix.WaitStatus
		got, err := unix.Wait4(tid, &status, unix.WNOHANG|unix.WALL, nil)
		if err != nil {
			t.Fatalf("%s: wait for thread %d: %v", name, tid, err)
		}
		return got == tid
	})
	get := func(buf unsafe.Pointer) int {
		n, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(tid), 0, uintptr(buf), 0, 0)
		if errno != 0 {
			t.Fatalf("read filter: %v", errno)
		}
		return int(n)
	}
	program := make([]unix.SockFilter, get(nil))
	get(unsafe.Pointer(&program[0]))
	return program
}

// filtered waits for a thread of a process that has a filter.
func filtered(t *testing.T, pid int) int {
	t.Helper()
	tid := 0
	testkit.Eventually(t, testkit.Patience, "a filter is loaded", func() bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte("Seccomp:\t2\n")) {
				tid, err = strconv.Atoi(filepath.Base(filepath.Dir(file)))
				return err == nil
			}
		}
		return false
	})
	return tid
}

// data is struct seccomp_data, see seccomp(2).
func data(arch, number uint32, arg uint64) []byte {
	d := binary.NativeEndian.AppendUint32(nil, number)
	d = binary.NativeEndian.AppendUint32(d, arch)
	d = binary.NativeEndian.AppendUint64(d, 0)
	for i := range uint64(6) {
		d = binary.NativeEndian.AppendUint64(d, arg+i)
	}
	return d
}

// interpret runs the few instructions that seccomp filters are made of.
func interpret(t *testing.T, program []unix.SockFilter, data []byte) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		i := program[pc]
		yes := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.NativeEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = a > i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = a&i.K != 0
		default:
			t.Fatalf("instruction %#x", i.Code)
		}
		if yes {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
	t.Fatal("the program does not end")
	return 0
}
