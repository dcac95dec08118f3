// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A unit of systemd with Delegate= owns the part of the tree below its own
// cgroup, and what it runs should stay there: the unit's limits hold for all of
// it, and it ends with the unit. So there the sandbox's cgroup is a directory of
// the unit's, and systemd is not asked for a scope beside it.
//
//	UNIT/supervisor   cpc itself, as no cgroup may have processes and children
//	UNIT/cpc-ID       the sandbox

// supervisorDir is where cpc moves itself, unless systemd has done so already
// (DelegateSubgroup=).
const supervisorDir = "supervisor"

// delegatedUnit returns the cgroup directory of the unit that this process is
// in, if systemd has delegated it to that unit, else "".
func (p prober) delegatedUnit() (string, error) {
	own, err := p.ownPath()
	if err != nil || own == "" {
		return "", err
	}
	for dir := own; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		name := filepath.Base(dir)
		if !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".scope") {
			continue
		}
		// The user's manager itself is delegated; what is not in a unit of
		// its own there is asked of it. A sandbox's scope is nobody else's.
		if strings.HasPrefix(name, "user@") || strings.HasPrefix(name, Prefix+"-") && strings.HasSuffix(name, ".scope") {
			return "", nil
		}
		unit := filepath.Join(unifiedMount, dir)
		if !p.delegatedFiles(unit) || !p.delegate(p.path(unit)) && !p.userUnit(dir) {
			return "", nil
		}
		return unit, nil
	}
	return "", nil
}

// delegatedFiles says whether the caller may write what delegation is about.
func (p prober) delegatedFiles(dir string) bool {
	for _, f := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if !p.writable(p.path(filepath.Join(dir, f))) {
			return false
		}
	}
	return true
}

// ownPath is the caller's place in the cgroup2 hierarchy, or "".
func (p prober) ownPath() (string, error) {
	data, err := readBounded(p.path("/proc/self/cgroup"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	own, ok := parseProcCgroup(data)[""]
	if !ok || strings.Contains(own, "..") {
		return "", nil
	}
	return own, nil
}

// userUnit asks the user's systemd, which leaves no mark on the cgroups of its
// units, and whose user could write all of them, whether this one is delegated.
func (p prober) userUnit(dir string) bool {
	_, uid, ok := strings.Cut(dir, "/user@")
	if !ok {
		return false
	}
	uid, _, _ = strings.Cut(uid, ".service/")
	n, err := strconv.Atoi(uid)
	if err != nil {
		return false
	}
	bus := p.userBus(n)
	return bus != "" && p.ask(bus, filepath.Base(dir))
}

// askDelegate asks systemd at this address whether a unit has Delegate=. One
// that does not answer has not delegated anything.
func askDelegate(bus, unit string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), scopeTimeout)
	defer cancel()
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) { return Plan{Bus: bus}.dial(ctx) })
	if err != nil {
		return false
	}
	defer conn.Close()
	kind := "Service"
	if strings.HasSuffix(unit, ".scope") {
		kind = "Scope"
	}
	property, err := conn.GetUnitTypePropertyContext(ctx, unit, kind, "Delegate")
	if err != nil {
		return false
	}
	delegated, ok := property.Value.Value().(bool)
	return ok && delegated
}

// delegateFlag reads the mark of the system's systemd on the cgroup of a unit
// with Delegate= (systemd 251; before that only root can read it).
func delegateFlag(dir string) bool {
	buf := make([]byte, 4)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, buf); err == nil && string(buf[:n]) == "1" {
			return true
		}
	}
	return false
}

// alone says whether the caller is the only process in the list of a
// cgroup.procs file.
func (p prober) alone(procs string) bool {
	return !slices.ContainsFunc(strings.Fields(procs), func(f string) bool { return f != strconv.Itoa(p.pid) })
}

// StepAside moves the calling process out of the directory in which the
// sandbox's cgroup will be, where the plan says that it is in the way, and
// turns the controllers on there. It must come before the monitor is started,
// which stays with its parent.
func (p Plan) StepAside() error {
	if p.Aside == "" {
		return nil
	}
	if filepath.Base(p.Aside) != supervisorDir {
		return fmt.Errorf("step aside to %s: not a directory of this plan", p.Aside)
	}
	if err := os.Mkdir(p.Aside, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as the kernel's own
		return fmt.Errorf("step aside: %w", err)
	}
	if err := os.WriteFile(filepath.Join(p.Aside, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("step aside: %w", err)
	}
	return p.enable(filepath.Dir(p.Aside))
}

// enable turns the controllers that the plan needs on for dir's children.
func (p Plan) enable(dir string) error {
	for _, c := range p.Limits.needs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("turn on the %s controller in %s: %w", c, dir, err)
		}
	}
	return nil
}
