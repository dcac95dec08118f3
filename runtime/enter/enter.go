// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package enter starts a container's processes the short way: what libcontainer
// does in a second Go process, with a configuration as JSON on each side, is done
// here by a hundred or two system calls in C, from a plan that is complete.
//
// The package knows no policy: a Plan says everything. It does less than
// libcontainer: no SELinux label, no hooks in the container, and so on.
// Any failure before the command's execve leaves a running container as it was,
// and of a new one nothing that the caller does not remove, so that it can start
// the command the long way, which also words the error.
//
// # A container's first process
//
// [Pass] has libcontainer start its init with a plan in a file. The C code
// (init.c) takes that init's place before libcontainer's own, and speaks its
// protocol: pids and messages as JSON over two sockets, the fifo to wait at. So
// cgroups, limits, state and errors stay libcontainer's. A libcontainer with
// another protocol would have every start go the long way, and TestStartSame
// fail.
//
// Its steps are carried out as the container's root, in new namespaces, on a root
// file system that nobody trusts: see path.c and mount.c on how.
//
// # A further process
//
// [Start] executes this very binary, sealed against writing (CVE-2019-5736),
// whose C code takes over before Go starts. It makes itself undumpable, joins
// the namespaces through a pidfd of the container's init, all at once, is put into
// its cgroup by the caller's Prepare, gives up its rights, and forks into the pid
// namespace. That child is this process's, and confined as the command is but for
// the filter, before anything in the container can signal it (kill(2) wants a pid).
// The container's root can still stop it before it executes the command: then Start
// kills it and returns ErrStopped.
//
// Start owns the descriptors it makes. It is called by one thread at a time.
package enter

// #cgo CFLAGS: -O2 -Wall -Wextra
// #include <string.h>
// #include "process.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/seccomp/compile"
)

// Capabilities are sets of capability numbers, one bit each.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}

// Plan is a command and where and with what rights it runs.
type Plan struct {
	Args, Env []string
	Cwd       string
	UID, GID  uint32
	Caps      Capabilities

	Groups     []uint32
	SetGroups  bool // false where the user namespace forbids it
	NoNewPrivs bool
	Tell       bool // the caller why the command cannot be executed, not its stderr
	Umask      *uint32
	FindHome   bool   // add HOME from the container's /etc/passwd
	Keyring    string // session keyring to join; "" keeps the caller's
	Profile    string // of AppArmor; "" keeps the caller's
	OOMScore   string // oom_score_adj; "" keeps the caller's
	Namespaces int    // CLONE_NEW* of those to join
	Filter     *compile.Filter
	Terminal   *Terminal // of a further process; a first one's is a Step

	Init // of a container's first process only
}

// Terminal is the size of one; 0 keeps what a new one has.
type Terminal struct {
	Rows, Columns uint32
	Await         bool // a size, for a moment: whoever gets the master is about to set it
}

// Init is what a container's first process is given over a further one. Its
// plan's Namespaces are made, not joined.
type Init struct {
	Steps          []Step // those of kind Join come first
	UIDMap, GIDMap string // as in /proc/PID/uid_map; "" without a user namespace of its own
	DenyGroups     bool   // forbid setgroups(2), which who may not map any group must
	DropGroups     bool   // of the caller, before the first step
	ShareKeyring   bool   // with the ids of a user namespace
	Owner          uint32 // of the user namespace, instead of the caller, which is root
}

// Launch is the caller's side of a start.
type Launch struct {
	Exe     *os.File   // this binary, sealed; nil if this process runs from such a one
	Init    *os.File   // pidfd of the container's init
	Passed  []*os.File // the command's descriptors from 3 on
	Console *os.File   // socket that the master of the plan's Terminal goes to
	Cgroup  *os.File   // directory of a cgroup v2 to start in; nil: none
	Prepare func(pid int) error
}

// encode writes a plan as process.c reads it: struct plan, and the rest.
func (p *Plan) encode(pidfd, keep int) ([]byte, error) {
	rest := append([]byte(p.OOMScore), 0)
	for len(rest)%8 != 0 {
		rest = append(rest, 0)
	}
	c := p.Caps
	head := C.struct_plan{
		namespaces: C.uint32_t(p.Namespaces), pidfd: C.uint32_t(pidfd), keep: C.uint32_t(keep), flags: C.uint32_t(p.flags()),
		uid: C.uint32_t(p.UID), gid: C.uint32_t(p.GID), owner: C.uint32_t(p.Owner),
		groups: C.uint32_t(len(p.Groups)), args: C.uint32_t(len(p.Args)), env: C.uint32_t(len(p.Env)), steps: C.uint32_t(len(p.Steps)),
		bounding: C.uint64_t(c.Bounding), effective: C.uint64_t(c.Effective), permitted: C.uint64_t(c.Permitted),
		inheritable: C.uint64_t(c.Inheritable), ambient: C.uint64_t(c.Ambient),
	}
	if p.Umask != nil {
		head.umask = C.uint32_t(*p.Umask)
	}
	if p.Terminal != nil {
		head.rows, head.columns = C.uint32_t(p.Terminal.Rows), C.uint32_t(p.Terminal.Columns)
	}
	for i := range p.Steps {
		rest = p.Steps[i].encode(rest)
	}
	if p.Filter != nil {
		head.filter, head.filter_flags = C.uint32_t(len(p.Filter.Program)), C.uint32_t(p.Filter.Flags)
		var err error
		if rest, err = binary.Append(rest, binary.NativeEndian, p.Filter.Program); err != nil {
			return nil, err
		}
	}
	for _, g := range p.Groups {
		rest = binary.NativeEndian.AppendUint32(rest, g)
	}
	for _, s := range p.strings() {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, fmt.Errorf("plan: %q: a null byte", s)
		}
		rest = append(append(rest, s...), 0)
	}
	if head.size = C.uint32_t(len(rest)); len(rest) > C.MAX_PLAN {
		return nil, errors.New("plan: too large")
	}
	return append(C.GoBytes(unsafe.Pointer(&head), C.sizeof_struct_plan), rest...), nil
}

// strings are all of a plan's, in the order in which they are read.
func (p *Plan) strings() []string {
	all := append(append([]string{p.Keyring, p.Profile, p.Cwd}, p.Args...), p.Env...)
	rest := p.Steps
	for ; len(rest) > 0 && rest[0].Kind == Join; rest = rest[1:] {
		all = append(all, rest[0].Text...)
	}
	all = append(all, p.UIDMap, p.GIDMap)
	for i := range rest {
		all = append(all, rest[i].Text...)
	}
	return all
}

func (p *Plan) flags() (bits uint32) {
	for bit, set := range map[uint32]bool{
		C.NO_NEW_PRIVS: p.NoNewPrivs, C.SET_GROUPS: p.SetGroups, C.SET_UMASK: p.Umask != nil,
		C.NEW_HOME: p.FindHome, C.OWN_USERNS: p.Namespaces&unix.CLONE_NEWUSER != 0,
		C.DENY_GROUPS: p.DenyGroups, C.DROP_GROUPS: p.DropGroups, C.SHARE_KEYRING: p.ShareKeyring, C.TERMINAL: p.Terminal != nil, C.TELL: p.Tell,
		C.AWAIT_SIZE: p.Terminal != nil && p.Terminal.Await,
	} {
		if set {
			bits |= bit
		}
	}
	return bits
}

// Start runs the command with this process's standard streams, and returns once
// it is executed. The process is a child of this one.
func Start(p *Plan, l Launch) (*os.Process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "enter"), os.NewFile(uintptr(pair[1]), "enter")
	defer func() { _ = ours.Close() }()
	keep := 3 + len(l.Passed)
	plan, err := p.encode(keep+1, keep)
	if err != nil {
		_ = theirs.Close()
		return nil, err
	}
	cmd := l.command(theirs)
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	pid, err := arrive(ours, plan, func() error { return l.Prepare(cmd.Process.Pid) })
	if err != nil {
		_ = cmd.Process.Kill() // a stage 2 there may be ends at the end of its channel
	}
	_ = cmd.Wait()
	if err != nil {
		return nil, err
	}
	child, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	stopped := killStopped(child)
	err = proceed(ours)
	if stopped() {
		err = ErrStopped // and killed, which looks like the end of an execve
	}
	if err != nil {
		_ = child.Kill()
		_, _ = child.Wait()
		return nil, err
	}
	return child, nil
}

// command is stage 1.
func (l Launch) command(channel *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "enter")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = append(append([]*os.File{}, l.Passed...), channel, l.Init)
	cmd.Env = []string{"_CPC_ENTER=" + strconv.Itoa(3+len(l.Passed))}
	if l.Console != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, l.Console)
	}
	if l.Exe != nil {
		// Passed, so that the descriptor's number in the child is known.
		cmd.ExtraFiles = append(cmd.ExtraFiles, l.Exe)
		cmd.Path = "/proc/self/fd/" + strconv.Itoa(2+len(cmd.ExtraFiles))
	}
	if l.Cgroup != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(l.Cgroup.Fd())}
	}
	return cmd
}

// report is what a further process tells.
type report struct{ Pid, Errno int32 }

// next reads a report; io.EOF is the end.
func next(r io.Reader) (rep report, err error) {
	var c C.struct_report
	if _, err := io.ReadFull(r, unsafe.Slice((*byte)(unsafe.Pointer(&c)), C.sizeof_struct_report)); err != nil {
		return rep, err
	}
	rep = report{int32(c.pid), int32(c.error)}
	if rep.Errno != 0 {
		return rep, fmt.Errorf("%s: %w", C.GoStringN(&c.step[0], C.int(C.strnlen(&c.step[0], C.size_t(len(c.step))))), unix.Errno(rep.Errno))
	}
	return rep, nil
}

// arrive hands the plan over, prepares stage 1 once it has joined, and returns the
// pid of stage 2.
func arrive(channel io.ReadWriter, plan []byte, prepare func() error) (int, error) {
	if _, err := channel.Write(plan); err != nil {
		return 0, err
	}
	if rep, err := next(channel); err != nil {
		return 0, err
	} else if rep.Pid != 0 {
		return 0, errors.New("unexpected report")
	}
	if err := prepare(); err != nil {
		return 0, err
	}
	if _, err := channel.Write([]byte{1}); err != nil {
		return 0, err
	}
	rep, err := next(channel)
	if err == nil && rep.Pid <= 0 {
		err = errors.New("no pid")
	}
	return int(rep.Pid), err
}

// proceed lets stage 2 go on and waits until the command is executed.
func proceed(channel io.ReadWriter) error {
	if _, err := channel.Write([]byte{1}); err != nil {
		return err
	}
	if rep, err := next(channel); err != nil {
		return err
	} else if rep.Pid != 0 {
		return errors.New("unexpected report")
	}
	switch rep, err := next(channel); {
	case errors.Is(err, io.EOF):
		return nil
	case rep.Errno != 0:
		return ExecError{unix.Errno(rep.Errno)}
	default:
		return errors.Join(errors.New("no end"), err)
	}
}

// ExecError is why a command was found, but could not be executed: the process is
// gone, and would end alike the long way. Start returns it if a plan has Tell.
type ExecError struct{ Errno unix.Errno }

// Error implements error.
func (e ExecError) Error() string { return "execve: " + e.Errno.Error() }

// Unwrap implements what errors.Is needs.
func (e ExecError) Unwrap() error { return e.Errno }
