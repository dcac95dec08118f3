// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package cgroups finds out which resource limits can be enforced on this
// host, plans the cgroup of one sandbox, reads back what the kernel accepted,
// watches for violations, and removes what is left.
//
// It never writes a limit: the OCI runtime does, from the resources of the
// [Plan]. Where systemd runs, `cpc run` has it make a scope for the monitor
// first (scope.go); all else works on the kernel's files alone. Callers are
// `cpc run` and the monitor, in the host's cgroup namespace; inside of U0 (see
// package idmap) the user's own delegated directories stay theirs.
//
// Invariants: a limit that cannot be enforced is never silently dropped, it is
// in Plan.Missing; [Plan.Remove] touches only directories of the plan's own id.
package cgroups

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Layout is how the cgroup hierarchies of a host are mounted.
type Layout string

const (
	// Unified: cgroup2 alone, at /sys/fs/cgroup.
	Unified Layout = "unified"
	// Hybrid: controllers on v1 hierarchies, and a cgroup2 beside them.
	Hybrid Layout = "hybrid"
	// Legacy: v1 hierarchies only.
	Legacy Layout = "legacy"
	// None: no cgroup filesystem is mounted.
	None Layout = "none"
)

// Driver is who makes the sandbox's cgroup.
type Driver string

const (
	// DriverNone: nobody can, no limit is enforced.
	DriverNone Driver = ""
	// DriverFS: cpc-runtime makes directories.
	DriverFS Driver = "fs"
	// DriverSystemd: systemd makes a transient scope on request.
	DriverSystemd Driver = "systemd"
)

// Controllers that limits need.
const (
	ctrlMemory = "memory"
	ctrlCPU    = "cpu"
	ctrlPids   = "pids"
	ctrlCPUSet = "cpuset"
	ctrlIO     = "io" // blkio on v1
)

// controllers are all that a limit can need, the usual ones first.
func controllers() []string { return []string{ctrlMemory, ctrlCPU, ctrlPids, ctrlCPUSet, ctrlIO} }

const (
	unifiedMount = "/sys/fs/cgroup"
	// maxProcFile bounds what is read of one proc or cgroup file.
	maxProcFile = 1 << 20
)

// Host is what was found about the cgroups of this host, for this caller.
type Host struct {
	Layout Layout `json:"layout"`
	Driver Driver `json:"driver"`
	// UID is the caller's user outside of U0.
	UID int `json:"uid"`
	// Privileged: the caller is root in the initial user namespace.
	Privileged bool `json:"privileged"`
	// Systemd: systemd runs as init of this host.
	Systemd bool `json:"systemd"`
	// Base is the directory (v2) below which the sandbox's cgroup will be.
	Base string `json:"base,omitempty"`
	// Controllers are those, of memory, cpu, pids, cpuset and io (v1: blkio),
	// that can be enforced.
	Controllers []string `json:"controllers"`
	// Unit: Base is the cgroup of a systemd unit, delegated to it, in which the
	// caller runs.
	Unit bool `json:"unit,omitempty"`
	// Aside: the caller is in Base itself, and alone, so it has to leave it
	// before there can be limits below.
	Aside bool `json:"aside,omitempty"`
	// Busy: Base (not systemd's) holds processes, so the kernel lets it turn on
	// no further controller for its children.
	Busy bool `json:"busy,omitempty"`
	// Bus is the address of the user's systemd, where that is the driver.
	Bus string `json:"bus,omitempty"`
	// SwapLimit: the kernel accounts swap (on v2 always, else memory.memsw).
	SwapLimit bool `json:"swapLimit"`
	// IOWeight: some I/O scheduler knows weights; on v2 that is not known before.
	IOWeight bool `json:"ioWeight,omitempty"`
	Sets

	mounts []mount
}

// Sets are the processors and memory nodes that there are, as lists; "" where that
// is not known.
type Sets struct {
	CPUs string `json:"cpus,omitempty"`
	Mems string `json:"mems,omitempty"`
}

// prober holds what [Probe] takes from the environment, so that tests can show
// it another host.
type prober struct {
	root     string // prefix of every absolute path that is read
	uid      int    // effective uid in the caller's own user namespace
	pid      int
	getenv   func(string) string
	writable func(path string) bool
	delegate func(path string) bool      // marked by systemd as delegated
	ask      func(bus, unit string) bool // what a user's systemd says of that
}

// Probe looks at the host. It changes nothing and starts nothing; in a unit of a
// user's systemd it asks that whether the unit is delegated.
func Probe() (Host, error) {
	return prober{
		uid:      os.Geteuid(),
		pid:      os.Getpid(),
		getenv:   os.Getenv,
		delegate: delegateFlag,
		ask:      askDelegate,
		writable: func(path string) bool { return unix.Access(path, unix.W_OK) == nil },
	}.probe()
}

func (p prober) path(name string) string { return filepath.Join(p.root, name) }

func (p prober) probe() (Host, error) {
	data, err := readBounded(p.path("/proc/self/mountinfo"))
	if err != nil {
		return Host{}, fmt.Errorf("probe cgroups: %w", err)
	}
	h := Host{mounts: parseMounts(data)}
	h.Layout = layoutOf(h.mounts)
	if h.UID, h.Privileged, err = p.identity(); err != nil {
		return Host{}, fmt.Errorf("probe cgroups: %w", err)
	}
	if fi, err := os.Lstat(p.path("/run/systemd/system")); err == nil && fi.IsDir() {
		h.Systemd = true
	}
	switch h.Layout {
	case Unified:
		err = p.probeUnified(&h)
	case Hybrid, Legacy:
		p.probeV1(&h)
	case None:
	}
	if err != nil {
		return Host{}, fmt.Errorf("probe cgroups: %w", err)
	}
	return h, nil
}

// WithoutSystemd is the host for what has no limits and asks systemd for no
// scope: root then makes a plain directory, and a user none.
func (h Host) WithoutSystemd() Host {
	if h.Driver != DriverSystemd {
		return h
	}
	h.Driver, h.Controllers = DriverNone, nil
	if h.Privileged {
		h.Driver, h.Base = DriverFS, unifiedMount
	}
	return h
}

// identity returns the caller's uid in the parent of its user namespace, and
// whether that namespace is the initial one.
func (p prober) identity() (uid int, privileged bool, err error) {
	data, err := readBounded(p.path("/proc/self/uid_map"))
	if errors.Is(err, os.ErrNotExist) { // a kernel without user namespaces
		return p.uid, p.uid == 0, nil
	}
	if err != nil {
		return 0, false, err
	}
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		inside, err1 := strconv.Atoi(f[0])
		outside, err2 := strconv.Atoi(f[1])
		size, err3 := strconv.Atoi(f[2])
		if err := errors.Join(err1, err2, err3); err != nil {
			return 0, false, fmt.Errorf("parse uid_map %q: %w", line, err)
		}
		if p.uid >= inside && p.uid-inside < size {
			initial := inside == 0 && outside == 0 && size == 1<<32-1
			return outside + p.uid - inside, initial && p.uid == 0, nil
		}
	}
	return p.uid, false, nil
}

// probeV1 fills in what root can do with v1 hierarchies; an ordinary user can
// do nothing safely there, delegation of v1 controllers never was safe.
func (p prober) probeV1(h *Host) {
	if !h.Privileged {
		return
	}
	for _, c := range controllers() {
		m, ok := findV1(h.mounts, v1Name(c))
		if ok && p.writable(p.path(m.point)) {
			h.Controllers = append(h.Controllers, c)
		}
		if !ok {
			continue
		}
		has := func(file string) bool {
			_, err := os.Lstat(p.path(filepath.Join(m.point, file)))
			return err == nil
		}
		switch c {
		case ctrlMemory:
			h.SwapLimit = has("memory.memsw.limit_in_bytes")
		case ctrlIO:
			// The root group has no weight, but what comes with it.
			h.IOWeight = has("blkio.weight") || has("blkio.bfq.io_service_bytes")
		case ctrlCPUSet:
			h.CPUs, h.Mems = p.list(m.point, "cpuset.effective_cpus"), p.list(m.point, "cpuset.effective_mems")
		}
	}
	if len(h.Controllers) > 0 {
		h.Driver = DriverFS
	}
}

// list reads a list of processors or nodes; "" where there is none.
func (p prober) list(dir, file string) string {
	data, err := readBounded(p.path(filepath.Join(dir, file)))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(data)
}

// v1Name is what a controller is called on v1.
func v1Name(controller string) string {
	if controller == ctrlIO {
		return "blkio"
	}
	return controller
}

func (p prober) probeUnified(h *Host) error {
	h.SwapLimit = true
	h.CPUs, h.Mems = p.list(unifiedMount, "cpuset.cpus.effective"), p.list(unifiedMount, "cpuset.mems.effective")
	if h.Systemd {
		unit, err := p.delegatedUnit()
		if err != nil {
			return err
		}
		if unit != "" {
			h.Driver, h.Base, h.Unit = DriverFS, unit, true
			return p.addEnableable(h, unit)
		}
	}
	switch {
	case h.Privileged && h.Systemd:
		h.Driver, h.Base = DriverSystemd, unifiedMount+"/system.slice"
		return p.addControllers(h, filepath.Join(unifiedMount, "cgroup.controllers"))
	case h.Privileged && p.writable(p.path(unifiedMount)):
		h.Driver, h.Base = DriverFS, unifiedMount
		return p.addEnableable(h, unifiedMount)
	}
	if bus := p.userBus(h.UID); h.Systemd && bus != "" {
		service := fmt.Sprintf("%s/user.slice/user-%d.slice/user@%d.service", unifiedMount, h.UID, h.UID)
		if _, err := os.Lstat(p.path(service)); err == nil {
			h.Driver, h.Base, h.Bus = DriverSystemd, service+"/user.slice", bus
			return p.addControllers(h, filepath.Join(service, "cgroup.controllers"))
		}
	}
	dir, err := p.delegated()
	if err != nil || dir == "" {
		return err
	}
	h.Driver, h.Base = DriverFS, dir
	return p.addEnableable(h, dir)
}

// userBus returns the address at which this user's systemd can be reached, or "".
func (p prober) userBus(uid int) string {
	bus := fmt.Sprintf("/run/user/%d/bus", uid)
	if dir := p.getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		bus = filepath.Join(dir, "bus")
	}
	if addr, ok := strings.CutPrefix(p.getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); ok {
		bus, _, _ = strings.Cut(addr, ",")
	}
	fi, err := os.Stat(p.path(bus))
	if err != nil || fi.Mode()&os.ModeSocket == 0 {
		return ""
	}
	return "unix:path=" + bus
}

// delegated returns the topmost directory that the caller may write, on the way
// from its own cgroup up to the root; "" when there is none. Only from there
// may processes be moved: the kernel wants the common ancestor's cgroup.procs.
func (p prober) delegated() (string, error) {
	own, err := p.ownPath()
	if err != nil || own == "" {
		return "", err
	}
	found := ""
	for dir := filepath.Join(unifiedMount, own); ; dir = filepath.Dir(dir) {
		if !p.delegatedFiles(dir) {
			return found, nil
		}
		found = dir
		if dir == unifiedMount {
			return found, nil
		}
	}
}

// addEnableable counts the controllers of dir that are on for its children, or
// can be turned on: a directory that holds processes itself may not do that,
// the real root excepted (it alone lacks cgroup.events).
func (p prober) addEnableable(h *Host, dir string) error {
	_, notRoot := os.Lstat(p.path(filepath.Join(dir, "cgroup.events")))
	procs, err := readBounded(p.path(filepath.Join(dir, "cgroup.procs")))
	if err != nil {
		return err
	}
	if notRoot == nil && strings.TrimSpace(procs) != "" {
		if h.Unit && p.alone(procs) {
			h.Aside = true
			return p.addControllers(h, filepath.Join(dir, "cgroup.controllers"))
		}
		h.Busy = true
		return p.addControllers(h, filepath.Join(dir, "cgroup.subtree_control"))
	}
	return p.addControllers(h, filepath.Join(dir, "cgroup.controllers"))
}

func (p prober) addControllers(h *Host, file string) error {
	data, err := readBounded(p.path(file))
	if err != nil {
		return err
	}
	have := strings.Fields(data)
	for _, c := range controllers() {
		if slices.Contains(have, c) {
			h.Controllers = append(h.Controllers, c)
		}
	}
	return nil
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProcFile))
	if err != nil {
		return "", err
	}
	return string(data), nil
}
