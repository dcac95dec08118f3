// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/exeseal"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/runtime/enter"
	"github.com/claude-pocket-console/cpc/seccomp/compile"
)

// quickState is what an exec needs of state.json. Whatever else may be set in
// there does not matter for one, or leads the long way (a test holds that).
type quickState struct {
	ID          string            `json:"id"`
	Pid         int               `json:"init_process_pid"`
	Start       uint64            `json:"init_process_start"`
	CgroupPaths map[string]string `json:"cgroup_paths"`
	RdtPath     string            `json:"intel_rdt_path"`
	Config      quickConfig       `json:"config"`
}

type quickConfig struct {
	Namespaces []struct {
		Type configs.NamespaceType `json:"type"`
	} `json:"namespaces"`
	Capabilities    *configs.Capabilities `json:"capabilities"`
	Rlimits         []configs.Rlimit      `json:"rlimits"`
	Seccomp         json.RawMessage       `json:"seccomp"`
	OOMScoreAdj     *int                  `json:"oom_score_adj"`
	Umask           *uint32               `json:"umask"`
	NoNewKeyring    bool                  `json:"no_new_keyring"`
	RootlessEUID    bool                  `json:"rootless_euid"`
	RootlessCgroups bool                  `json:"rootless_cgroups"`
	Labels          []string              `json:"labels"`
	AppArmor        string                `json:"apparmor_profile"`
	longWay
}

// longWay are the fields that the quick way does not know.
type longWay struct {
	ProcessLabel string `json:"process_label"`
	IntelRdt     any    `json:"intel_rdt"`
	MemoryPolicy any    `json:"memory_policy"`
	Scheduler    any    `json:"scheduler"`
	Personality  any    `json:"personality"`
	IOPriority   any    `json:"io_priority"`
	Affinity     any    `json:"exec_cpu_affinity"`
}

// execQuickly starts a process without libcontainer. No supervisor means that
// nothing has happened, and that the process must be started the long way, by
// the same launch; one and an error, that the process has run and is gone.
func (r Runtime) execQuickly(id string, o *ExecOptions, l *launch) (*supervisor, error) {
	if err := quickly(); err != nil {
		return nil, err
	}
	switch {
	case o.PidfdSocket != "":
		return nil, because(ReasonPidfd)
	case o.PreserveFDs != 0:
		return nil, because(ReasonDescriptors)
	case len(o.Cgroups) > 0:
		return nil, because(ReasonSubCgroup)
	}
	if err := errors.Join(r.states().checkRoot(), checkID(id), checkPidFile(o.PidFile)); err != nil {
		return nil, err
	}
	var s quickState
	if err := readKeptJSON(filepath.Join(r.Root, id, stateFile), &s); err != nil {
		return nil, err
	}
	if s.ID != id || s.Pid <= 0 {
		return nil, because(ReasonState)
	}
	if s.Config.longWay != (longWay{}) || s.RdtPath != "" {
		return nil, because(ReasonField)
	}
	p, err := o.process(s.Config.Labels)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.Root, id)
	plan, err := s.plan(p)
	if err != nil {
		return nil, err
	}
	plan.Tell = !r.AsRunc
	if plan.Terminal != nil {
		plan.Terminal.Await = o.ConsoleSocket != "" && p.ConsoleSize == nil
	}
	dropAmbient(&plan.Caps)
	if plan.Filter, err = r.filter(s.Config.Seccomp); err != nil {
		return nil, err
	}
	l.spec = p
	return l.startQuickly(func(console *os.File) (*os.Process, error) {
		return s.enter(dir, plan, s.rlimits(p), console)
	})
}

// filtersDir in ROOT keeps compiled seccomp profiles. No container's name has an @.
const filtersDir = "@filters"

// filter compiles a seccomp profile, libcontainer's as JSON, or finds it compiled.
func (r Runtime) filter(profile []byte) (*compile.Filter, error) {
	return compile.Cache{Dir: filepath.Join(r.Root, filtersDir)}.Filter(profile)
}

// startQuickly starts a process by this function, which passes on the socket for
// its terminal if it has one.
func (l *launch) startQuickly(how func(console *os.File) (*os.Process, error)) (*supervisor, error) {
	if err := l.checkTerminal(); err != nil {
		return nil, err
	}
	sup, like := &supervisor{}, libcontainer.Process{}
	if !l.detach {
		if err := sup.listen(false); err != nil {
			return nil, err
		}
	}
	stdio, err := l.attach(&like)
	if err != nil {
		return nil, err
	}
	sup.stdio = stdio
	child, err := how(like.ConsoleSocket)
	if err != nil {
		stdio.close()
		if refused, ok := errors.AsType[enter.ExecError](err); ok {
			return sup, notExecuted(l.spec.Args[0], refused.Errno)
		}
		if errors.Is(err, enter.ErrStopped) {
			return sup, err
		}
		if errors.Is(err, unix.EAGAIN) {
			// The limit of processes. The long way needs more of them, and threads,
			// for want of which Go writes its stacks to the command's standard error.
			return sup, fmt.Errorf("no process can be made for the command: %w", err)
		}
		return nil, err
	}
	sup.process = entered{child}
	if err := stdio.started(); err != nil {
		sup.abandon()
		return sup, err
	}
	return sup, nil
}

// plan says what the process is given, as libcontainer's newInitConfig does.
func (s *quickState) plan(p *specs.Process) (*enter.Plan, error) {
	lp, err := newProcess(p)
	if err != nil {
		return nil, err
	}
	switch {
	case lp.Label != "":
		return nil, because(ReasonLabel)
	case lp.Scheduler != nil, lp.IOPriority != nil, lp.CPUAffinity != nil:
		return nil, because(ReasonField)
	case s.Config.RootlessEUID && len(lp.AdditionalGroups) > 0:
		return nil, because(ReasonGroups)
	}
	caps := s.Config.Capabilities
	if lp.Capabilities != nil {
		caps = lp.Capabilities
	}
	plan := &enter.Plan{
		Args: p.Args, Cwd: p.Cwd, UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids,
		NoNewPrivs: p.NoNewPrivileges, Umask: s.Config.Umask, Profile: cmp.Or(lp.AppArmorProfile, s.Config.AppArmor),
	}
	if p.Terminal {
		plan.Terminal = &enter.Terminal{Rows: uint32(lp.ConsoleHeight), Columns: uint32(lp.ConsoleWidth)}
	}
	if plan.Caps, err = capabilitySets(caps); err != nil {
		return nil, err
	}
	if plan.Env, plan.FindHome, err = environment(p.Env); err != nil {
		return nil, err
	}
	if plan.Namespaces, err = s.namespaces(); err != nil {
		return nil, err
	}
	if !s.Config.NoNewKeyring {
		plan.Keyring = "_ses." + s.ID
	}
	if s.Config.OOMScoreAdj != nil {
		plan.OOMScore = strconv.Itoa(*s.Config.OOMScoreAdj)
	}
	if !s.Config.RootlessEUID && !keepsGroups(s.Config.Labels) {
		allowed, err := os.ReadFile("/proc/" + strconv.Itoa(s.Pid) + "/setgroups")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		plan.SetGroups = strings.TrimSpace(string(allowed)) != "deny"
	}
	return plan, nil
}

func (s *quickState) rlimits(p *specs.Process) []configs.Rlimit {
	lp, err := newProcess(p)
	if err != nil || len(lp.Rlimits) == 0 {
		return s.Config.Rlimits
	}
	return lp.Rlimits
}

// namespaces are the CLONE_NEW* flags of those that the container has.
func (s *quickState) namespaces() (flags int, err error) {
	for _, ns := range s.Config.Namespaces {
		one := configs.Namespace{Type: ns.Type}
		flag := one.Syscall()
		if flag == 0 {
			return 0, because(ReasonNamespace)
		}
		flags |= flag
	}
	return flags, nil
}

// enter starts the process. dir is the container's state directory.
func (s *quickState) enter(dir string, plan *enter.Plan, limits []configs.Rlimit, console *os.File) (*os.Process, error) {
	init, err := s.openInit()
	if err != nil {
		return nil, err
	}
	defer func() { _ = init.Close() }()
	l := enter.Launch{Init: init, Console: console, Prepare: func(pid int) error { return s.prepare(pid, limits) }}
	if !exeseal.IsSelfExeCloned() {
		if l.Exe, err = exeseal.CloneSelfExe(dir); err != nil {
			return nil, err
		}
		defer func() { _ = l.Exe.Close() }()
	}
	if l.Cgroup, err = s.openCgroup(); err != nil {
		return nil, err
	}
	if l.Cgroup != nil {
		defer func() { _ = l.Cgroup.Close() }()
	}
	return enter.Start(plan, l)
}

// openCgroup opens the cgroup v2 that the process is to start in; nil is this
// process's own.
func (s *quickState) openCgroup() (*os.File, error) {
	path := s.CgroupPaths[""]
	if path == "" || !cgroups.IsCgroup2UnifiedMode() {
		return nil, nil
	}
	f, err := cgroups.OpenFile(path, "", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if !errors.Is(err, os.ErrNotExist) || !s.Config.RootlessCgroups {
		return f, err
	}
	// It could not be made, so init is where create was: perhaps right here.
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	inits, err := os.ReadFile("/proc/" + strconv.Itoa(s.Pid) + "/cgroup")
	if err == nil && !bytes.Equal(own, inits) {
		err = because(ReasonState)
	}
	return nil, err
}

// openInit returns a pidfd of the container's init, provided that it runs and is
// not paused.
func (s *quickState) openInit() (*os.File, error) {
	fd, err := unix.PidfdOpen(s.Pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	init := os.NewFile(uintptr(fd), "init")
	data, err := os.ReadFile("/proc/" + strconv.Itoa(s.Pid) + "/stat")
	switch {
	case err == nil && !alive(string(data), s.Start):
		err = because(ReasonState)
	case s.mayBePaused():
		err = because(ReasonPaused)
	}
	if err != nil {
		return nil, errors.Join(err, init.Close())
	}
	return init, nil
}

// alive reads /proc/PID/stat, see proc_pid_stat(5).
func alive(stat string, start uint64) bool {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return false
	}
	fields := strings.Fields(stat[end+1:]) // from field 3 on, the state
	return len(fields) > 19 && fields[19] == strconv.FormatUint(start, 10) && !strings.Contains("ZXx", fields[0])
}

// mayBePaused also when that cannot be told.
func (s *quickState) mayBePaused() bool {
	file, running := filepath.Join(s.CgroupPaths[""], "cgroup.freeze"), "0"
	if !cgroups.IsCgroup2UnifiedMode() {
		file, running = filepath.Join(s.CgroupPaths["freezer"], "freezer.state"), "THAWED"
	}
	if !filepath.IsAbs(file) {
		return false // no cgroup, no pause
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || strings.TrimSpace(string(data)) != running
}

// prepare puts a process that waits into its cgroup, with its limits.
func (s *quickState) prepare(pid int, limits []configs.Rlimit) error {
	if !cgroups.IsCgroup2UnifiedMode() {
		for _, path := range s.CgroupPaths {
			if err := cgroups.WriteCgroupProc(path, pid); err != nil && !s.Config.RootlessCgroups {
				return err
			}
		}
	}
	for _, l := range limits {
		if err := unix.Prlimit(pid, l.Type, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	if err := allCPUs(pid); err != nil {
		logrus.Debugf("CPU affinity: %v", err)
	}
	return nil
}

// capabilitySets translates names. One that is unknown here is warned of the
// long way.
func capabilitySets(c *configs.Capabilities) (sets enter.Capabilities, err error) {
	if c == nil {
		return sets, because(ReasonCapabilities)
	}
	known := capabilities.KnownCapabilities() // by number
	highest := 0
	for _, set := range []struct {
		names []string
		bits  *uint64
	}{
		{c.Bounding, &sets.Bounding},
		{c.Effective, &sets.Effective},
		{c.Permitted, &sets.Permitted},
		{c.Inheritable, &sets.Inheritable},
		{c.Ambient, &sets.Ambient},
	} {
		for _, name := range set.names {
			n := slices.Index(known, name)
			if n < 0 {
				return sets, fmt.Errorf("capability %s: %w", name, because(ReasonCapabilities))
			}
			*set.bits |= 1 << n
			highest = max(highest, n)
		}
	}
	_, err = unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(highest), 0, 0, 0)
	return sets, os.NewSyscallError("prctl(PR_CAPBSET_READ)", err) // unknown to the kernel
}

// dropAmbient warns, as libcontainer's init does, of those that cannot be.
func dropAmbient(sets *enter.Capabilities) {
	for n, name := range capabilities.KnownCapabilities() {
		if sets.Ambient&^(sets.Permitted&sets.Inheritable)&(1<<n) != 0 {
			logrus.Warnf("can't raise ambient capability %s: %v", name, unix.EPERM)
			sets.Ambient &^= 1 << n
		}
	}
}

// environment drops all but the last value of a variable, and says whether HOME
// is missing.
func environment(env []string) (out []string, noHome bool, err error) {
	seen := map[string]bool{}
	noHome = true
	for _, kv := range slices.Backward(env) {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.ContainsRune(kv, 0) {
			return nil, false, because(ReasonEnvironment)
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		if name == "HOME" {
			if value == "" {
				continue
			}
			noHome = false
		}
		out = append(out, kv)
	}
	slices.Reverse(out)
	return out, noHome, nil
}
