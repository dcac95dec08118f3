// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// Sweep removes what sandboxes whose monitor died have left. Where nothing is
// left, which is nearly always, it costs a look into two directories.
func (e *Engine) Sweep() error {
	_, err := e.SweepCounting()
	return err
}

// SweepCounting is Sweep, and says of how many sandboxes, builds and steps of
// builds there was something left.
func (e *Engine) SweepCounting() (int, error) {
	e.sweeping.Lock()
	defer e.sweeping.Unlock()
	if err := e.thawDying(); err != nil {
		return 0, err
	}
	left, err := e.Set.Stale()
	if err != nil || left.Empty() {
		return 0, err
	}
	return len(left.Entries) + len(left.Orphans) + len(left.Steps), e.sweep()
}

func (e *Engine) sweep() error {
	// Removing needs no range of its own; the base only has to be valid.
	mapping := e.IDs.Mapping(idmap.Size)
	cmd, err := userns.Start(userns.Child{
		Role: monitor.SweepRole, IDs: e.IDs,
		Body: func(int) (any, error) { return monitor.SweepTask{Dirs: e.Dirs, Mapping: mapping}, nil },
	})
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// thawDying thaws paused sandboxes whose monitor was killed. On cgroup v1 the kernel
// cannot end a frozen process: a monitor that is being ended waits for it, and one
// that has gone already leaves it behind.
func (e *Engine) thawDying() error {
	all, err := e.Set.List()
	if err != nil {
		return err
	}
	for _, entry := range all {
		if entry.Record.Status != record.Paused || entry.Attended() && !entry.Dying() {
			continue
		}
		plan, planErr := monitor.PlanOf(entry)
		if planErr == nil {
			planErr = plan.Thaw()
		}
		err = errors.Join(err, planErr)
	}
	return err
}
