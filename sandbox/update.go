// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"fmt"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Update changes the limits of a running sandbox. The limits that change sees
// are those that are enforced. On an error they still are.
func (e *Engine) Update(ctx context.Context, name string, change func(*cgroups.Limits) error) error {
	entry, err := e.Set.Find(name)
	if err != nil {
		return err
	}
	if entry.Record.Status == record.Exited {
		return fmt.Errorf("%w: %s", ErrNotRunning, name)
	}
	plan, err := monitor.LoadPlan(entry)
	if err != nil {
		return err
	}
	limits := plan.Limits
	if err := change(&limits); err != nil {
		return fmt.Errorf("update %s: %w", name, err)
	}
	host, err := cgroups.Probe()
	if err != nil {
		return err
	}
	_, missing, err := host.Enforceable(limits)
	if err != nil {
		return fmt.Errorf("update %s: %w", name, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("update %s: %w", name, &LimitsError{Missing: missing, Running: true})
	}
	return e.ask(ctx, "update", name, wire.RequestBody{Op: wire.OpUpdate, Limits: &limits})
}

// Pause stops all processes of a sandbox.
func (e *Engine) Pause(ctx context.Context, name string) error {
	return e.ask(ctx, "pause", name, wire.RequestBody{Op: wire.OpPause})
}

// Unpause lets a paused sandbox go on.
func (e *Engine) Unpause(ctx context.Context, name string) error {
	return e.ask(ctx, "unpause", name, wire.RequestBody{Op: wire.OpUnpause})
}

// ask makes a request that has one reply.
func (e *Engine) ask(ctx context.Context, op, name string, req wire.RequestBody) error {
	s, err := e.open(ctx, name, req)
	if err != nil {
		return err
	}
	defer s.Close()
	t, payload, err := s.conn.ReadFrame()
	if err != nil {
		return s.unanswered(e, err)
	}
	if t == wire.Failure {
		return fmt.Errorf("%s %s: %w", op, name, failure(payload))
	}
	return nil
}
