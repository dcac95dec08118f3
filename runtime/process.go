// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// newProcess translates a process of the OCI specification to libcontainer's.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	lp := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		Label:           p.SelinuxLabel,
		AppArmorProfile: p.ApparmorProfile,
		NoNewPrivileges: &p.NoNewPrivileges,
		Scheduler:       p.Scheduler,
		IOPriority:      p.IOPriority,
		LogLevel:        strconv.Itoa(int(logrus.GetLevel())),
	}
	for _, gid := range p.User.AdditionalGids {
		lp.AdditionalGroups = append(lp.AdditionalGroups, int(gid))
	}
	if s := p.ConsoleSize; s != nil {
		if s.Width > 1<<16-1 || s.Height > 1<<16-1 {
			return nil, fmt.Errorf("process.consoleSize %dx%d: at most 65535x65535", s.Width, s.Height)
		}
		lp.ConsoleWidth, lp.ConsoleHeight = uint16(s.Width), uint16(s.Height)
	}
	if c := p.Capabilities; c != nil {
		lp.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Permitted: c.Permitted,
			Inheritable: c.Inheritable, Ambient: c.Ambient,
		}
	}
	for _, rl := range p.Rlimits {
		resource, ok := rlimit(rl.Type)
		if !ok {
			return nil, fmt.Errorf("process.rlimits: unknown limit %q", rl.Type)
		}
		lp.Rlimits = append(lp.Rlimits, configs.Rlimit{Type: resource, Hard: rl.Hard, Soft: rl.Soft})
	}
	affinity, err := configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	if err != nil {
		return nil, fmt.Errorf("process.execCPUAffinity: %w", err)
	}
	lp.CPUAffinity = affinity
	return lp, nil
}

// rlimit returns the number of a resource limit, see getrlimit(2).
func rlimit(name string) (int, bool) {
	numbers := map[string]int{
		"RLIMIT_AS":         unix.RLIMIT_AS,
		"RLIMIT_CORE":       unix.RLIMIT_CORE,
		"RLIMIT_CPU":        unix.RLIMIT_CPU,
		"RLIMIT_DATA":       unix.RLIMIT_DATA,
		"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
		"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
		"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
		"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
		"RLIMIT_NICE":       unix.RLIMIT_NICE,
		"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
		"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
		"RLIMIT_RSS":        unix.RLIMIT_RSS,
		"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
		"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
		"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
		"RLIMIT_STACK":      unix.RLIMIT_STACK,
	}
	n, ok := numbers[name]
	return n, ok
}

// passFDs hands on the sockets that a service manager has opened for the
// container (see sd_listen_fds(3)), and after them what was asked for.
func (l *launch) passFDs(p *libcontainer.Process) error {
	listening := 0
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); l.init && err == nil && pid == os.Getpid() {
		n, err := strconv.ParseUint(os.Getenv("LISTEN_FDS"), 10, 16)
		if err != nil {
			return fmt.Errorf("LISTEN_FDS %q: want a number", os.Getenv("LISTEN_FDS"))
		}
		listening = int(n)
	}
	if listening > 0 {
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(listening), "LISTEN_PID=1")
	}
	if l.options.PreserveFDs < 0 {
		return fmt.Errorf("preserve %d descriptors: negative", l.options.PreserveFDs)
	}
	return preserveFDs(p, listening+l.options.PreserveFDs)
}

// preserveFDs hands descriptors 3 to 3+n-1 of this process to the container. Of
// those the last has to be there: podman, to pass on some, counts to the highest. A
// descriptor with close-on-exec was opened here, so it is none of the caller's.
func preserveFDs(p *libcontainer.Process, n int) error {
	for fd := 3; fd < 3+n; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			err = unix.EBADF
		}
		switch {
		case err == nil:
			p.ExtraFiles = append(p.ExtraFiles, os.NewFile(uintptr(fd), "preserved"))
		case err == unix.EBADF && fd < 3+n-1:
			p.ExtraFiles = append(p.ExtraFiles, nil) // closed in the container too
		default:
			return fmt.Errorf("preserve descriptor %d: not passed by the caller: %w", fd, err)
		}
	}
	return nil
}

// process is what a supervisor waits for: a libcontainer.Process, or one that
// was entered quickly.
type process interface {
	Pid() (int, error)
	Signal(os.Signal) error
	Wait() (*os.ProcessState, error)
}

type entered struct{ *os.Process }

func (e entered) Pid() (int, error) { return e.Process.Pid, nil }

// allCPUs lets a process run on every CPU that its cgroup allows, whichever this
// one is bound to, as libcontainer does.
func allCPUs(pid int) error {
	mask := bytes.Repeat([]byte{0xff}, 8192) // the kernel takes what it has
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(pid), uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return os.NewSyscallError("sched_setaffinity", errno)
	}
	return nil
}
