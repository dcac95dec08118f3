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
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Where systemd runs, every cgroup is its to give. It is asked for a transient
// scope that holds the sandbox's monitor and is delegated to it, and the
// sandbox's own cgroup is a directory in there beside the monitor's:
//
//	SLICE/cpc-ID.scope/monitor   the monitor, which the limits do not concern
//	SLICE/cpc-ID.scope/cpc-ID    the sandbox
//
// The request is made by the process that starts the monitor and not by the
// OCI runtime, as systemd takes a pid for what it means on the host, and the
// runtime lives in a pid namespace where it means something else. When the
// monitor is gone, so is the scope.

// scopeTimeout is how long systemd may take: on a host that is overloaded a user's
// first scope took more than 10 s.
const scopeTimeout = 30 * time.Second

// monitorDir is the monitor's place in its scope.
const monitorDir = "monitor"

// OpenScope has systemd make the plan's scope with process pid, as the host
// counts, in it. Without a scope in the plan it does nothing.
func (p Plan) OpenScope(ctx context.Context, pid int) error {
	if p.Scope == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, scopeTimeout)
	defer cancel()
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) { return p.dial(ctx) })
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, p.Scope, "fail", []dbus.Property{
		dbus.PropDescription("cpc sandbox"),
		dbus.PropSlice(p.Slice),
		dbus.PropPids(uint32(pid)), //nolint:gosec // a pid is positive
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
		{Name: "DefaultDependencies", Value: godbus.MakeVariant(false)},
	}, done)
	if err != nil {
		return fmt.Errorf("systemd scope %s: %w", p.Scope, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd scope %s: job %s", p.Scope, result)
		}
	case <-ctx.Done():
		return fmt.Errorf("systemd scope %s: no answer within %v", p.Scope, scopeTimeout)
	}
	return p.checkScope(pid)
}

func (p Plan) dial(ctx context.Context) (*godbus.Conn, error) {
	connect := godbus.ConnectSystemBus
	if p.Bus != "" {
		connect = func(o ...godbus.ConnOption) (*godbus.Conn, error) { return godbus.Connect(p.Bus, o...) }
	}
	return connect(godbus.WithContext(ctx))
}

// checkScope makes sure that the process is where the plan says.
func (p Plan) checkScope(pid int) error {
	data, err := readBounded("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return err
	}
	want := strings.TrimPrefix(filepath.Dir(p.Dirs[0]), unifiedMount)
	if got := parseProcCgroup(data)[""]; got != want {
		return fmt.Errorf("systemd scope %s: process is in cgroup %s, not in %s", p.Scope, got, want)
	}
	return nil
}

// SettleInScope moves the calling process, which OpenScope put into the scope,
// into a cgroup of its own, and turns the controllers on for the sandbox's.
// Without a scope in the plan it does nothing.
func (p Plan) SettleInScope() error { return p.settle(0) }

// settle is SettleInScope for process pid; 0 is the calling one.
func (p Plan) settle(pid int) error {
	if p.Scope == "" {
		return nil
	}
	scope := filepath.Dir(p.Dirs[0])
	own := filepath.Join(scope, monitorDir)
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as the kernel's own
		return fmt.Errorf("settle in scope: %w", err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("settle in scope: %w", err)
	}
	return p.enable(scope)
}

// needs are the controllers without which limits cannot be enforced.
func (l Limits) needs() []string {
	var need []string
	for _, part := range l.parts() {
		if part.set && !slices.Contains(need, part.controller) {
			need = append(need, part.controller)
		}
	}
	return need
}
