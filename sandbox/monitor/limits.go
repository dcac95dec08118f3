// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	units "github.com/docker/go-units"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

var (
	// ErrPaused reports a sandbox that has to go on before it can do something.
	ErrPaused = errors.New("sandbox is paused")
	// ErrNotPaused reports one that is not paused.
	ErrNotPaused = errors.New("sandbox is not paused")
)

// size is a number of bytes as people are told it.
func size(n int64) string {
	return units.CustomSize("%.4g %s", float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"})
}

func (m *monitor) plannedLimits() cgroups.Limits {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.task.Plan.Limits
}

func (m *monitor) paused() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entry.Record.Status == record.Paused
}

// serveUpdate gives the running sandbox other limits. They are read back; when
// one was refused, all are as they were.
func (m *monitor) serveUpdate(c *wire.Conn, req wire.RequestBody) error {
	if req.Limits == nil {
		return errBadRequest
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	select {
	case <-m.exited:
		return errEnded
	default:
	}
	m.mu.Lock()
	old := m.task.Plan
	m.mu.Unlock()
	to, resources, err := old.Change(*req.Limits)
	if err != nil {
		return err
	}
	if err := to.Ready(m.pid); err != nil {
		return err
	}
	err = m.apply(resources)
	if err == nil {
		err = to.CheckChange(m.pid, old.Limits)
	}
	if err != nil {
		return errors.Join(err, m.revert(old, to.Limits))
	}
	m.mu.Lock()
	m.task.Plan, m.entry.Record.Settings.Limits = to, to.Limits
	if err = SavePlan(m.entry, to); err == nil {
		err = m.entry.Save()
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.budget.Set(network.Rate(to.Limits.Processors()))
	m.note("update", nil)
	return c.WriteJSON(wire.Reply, wire.ReplyBody{})
}

// revert puts the plan's limits on the sandbox again.
func (m *monitor) revert(to cgroups.Plan, from cgroups.Limits) error {
	resources, err := to.Revert(from, m.pid)
	if applied := m.apply(resources); applied != nil { // also what Revert could work out
		err = errors.Join(err, applied)
	}
	if err = errors.Join(err, to.CheckChange(m.pid, from)); err != nil {
		return fmt.Errorf("put the former limits back: %w", err)
	}
	return nil
}

// resourcesFile hands limits to the runtime.
const resourcesFile = "resources.json"

func (m *monitor) apply(r *specs.LinuxResources) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(m.entry.Dir, resourcesFile)
	if err := ownfile.Write(file, raw); err != nil {
		return fmt.Errorf("change limits: %w", err)
	}
	return errors.Join(m.oci.Update(m.alive, resourcesFile), os.Remove(file))
}

// servePause stops the sandbox's processes, or lets them go on.
func (m *monitor) servePause(c *wire.Conn, pause bool) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	select {
	case <-m.exited:
		return errEnded
	default:
	}
	switch {
	case m.paused() && pause:
		return fmt.Errorf("%w already", ErrPaused)
	case !m.paused() && !pause:
		return ErrNotPaused
	case m.task.Plan.Path == "":
		return cgroups.ErrNoCgroup
	}
	if err := m.freeze(pause); err != nil {
		return err
	}
	m.note(map[bool]string{true: "pause", false: "unpause"}[pause], nil)
	return c.WriteJSON(wire.Reply, wire.ReplyBody{})
}

// freeze is for a caller that holds changing.
func (m *monitor) freeze(pause bool) error {
	status, do := record.Running, m.oci.Resume
	if pause {
		status, do = record.Paused, m.oci.Pause
	}
	if err := do(m.alive); err != nil {
		return err
	}
	return m.setStatus(status)
}

// setStatus is for a sandbox that lives; its end is final.
func (m *monitor) setStatus(status record.Status) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entry.Record.Status == record.Exited {
		return nil
	}
	m.entry.Record.Status = status
	return m.entry.Save()
}

// thaw lets the sandbox go on if it is paused.
func (m *monitor) thaw() error {
	if !m.paused() {
		return nil
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	if !m.paused() {
		return nil
	}
	err := m.task.Plan.Thaw()
	if err == nil {
		err = m.setStatus(record.Running)
	}
	m.note("unpause", nil)
	return err
}
