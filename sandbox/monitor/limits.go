// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	units "github.com/docker/go-units"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

var (
	// ErrPaused reports a sandbox that has to go on before it can do something.
	ErrPaused = hint.New("sandbox is paused",
		"Unpause the sandbox with: cpc unpause NAME")
	// ErrNotPaused reports one that is not paused.
	ErrNotPaused = errors.New("sandbox is not paused")
	// ErrNoRoom reports a program that the limit of processes did not let start.
	ErrNoRoom = hint.New("the limit of processes leaves no room for another program",
		"End some of its processes, or raise the limit with: cpc update --pids-limit NUMBER NAME")
)

// size is a number of bytes as people are told it.
func size(n int64) string {
	return units.CustomSize("%.4g %s", float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"})
}

// limits is what the sandbox may use, and whether it may run at this moment.
type limits struct {
	history *history
	budget  *cpubudget.Budget // of the processor time for network and output
	program *program          // from watch on
	struck  struck            // what they have done

	stop func() // of watch

	changing sync.Mutex // held while limits or the freezer are changed, before mu
	mu       sync.Mutex // guards what follows
	plan     cgroups.Plan
}

// newLimits are those of a plan. The budget counts from now on.
func newLimits(plan cgroups.Plan, h *history) *limits {
	return &limits{
		history: h, plan: plan, budget: cpubudget.New(network.Rate(plan.Limits.Processors())),
		stop: func() {},
	}
}

// watch reads back what the kernel enforces on a program that does not run yet, and
// watches for violations from then on.
func (l *limits) watch(p *program) error {
	l.program = p
	if l.plan.Path == "" {
		return nil // best effort: there is no cgroup to look at
	}
	if err := l.plan.Check(p.proc.PID()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	events, err := l.plan.Watch(ctx, p.proc.PID())
	if err != nil {
		stop()
		return err
	}
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		l.onEvents(events)
	}()
	// The watcher takes a last look when it is stopped: what killed the
	// sandbox is on record before the outcome is.
	l.stop = func() {
		stop()
		<-seen
	}
	return nil
}

// planned is the plan as it is in force.
func (l *limits) planned() cgroups.Plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plan
}

// removeCgroup kills what is left in the sandbox's cgroup.
func (l *limits) removeCgroup() error { return l.planned().Remove() }

// paced returns write within the budget, as long as the program that writes has
// not ended. What waits comes in larger pieces.
func (l *limits) paced(exited <-chan struct{}, write func(wire.Type, []byte)) func(wire.Type, []byte) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-exited
		cancel()
	}()
	return func(t wire.Type, p []byte) {
		_ = l.budget.Wait(ctx) // after the end all of it comes, at once
		write(t, p)
	}
}

// serveUpdate gives the running sandbox other limits. They are read back; when
// one was refused, all are as they were.
func (l *limits) serveUpdate(c *wire.Conn, req wire.RequestBody) error {
	if req.Limits == nil {
		return errBadRequest
	}
	before := l.planned().Limits
	if err := l.update(*req.Limits); err != nil {
		return err
	}
	was, is := l.planned().Limits.Changes(before)
	l.history.note("update", attributes{"changed": is, "before": was}.by(req.By))
	return c.WriteJSON(wire.Reply, wire.ReplyBody{})
}

func (l *limits) update(want cgroups.Limits) error {
	l.changing.Lock()
	defer l.changing.Unlock()
	if l.program.ended() {
		return errEnded
	}
	old := l.planned()
	to, resources, err := old.Change(want)
	if err != nil {
		return err
	}
	if err := to.Ready(l.program.proc.PID()); err != nil {
		return err
	}
	err = l.apply(resources)
	if err == nil {
		err = to.CheckChange(l.program.proc.PID(), old.Limits)
	}
	if err != nil {
		return errors.Join(err, l.revert(old, to.Limits))
	}
	l.mu.Lock()
	l.plan = to
	l.mu.Unlock()
	err = SavePlan(l.history.entry, to)
	saved := l.history.change(func(r *record.Record) { r.Applied.Limits = to.Limits })
	if err = errors.Join(err, saved); err != nil {
		return err
	}
	l.budget.Set(network.Rate(to.Limits.Processors()))
	return nil
}

// revert puts the plan's limits on the sandbox again.
func (l *limits) revert(to cgroups.Plan, from cgroups.Limits) error {
	resources, err := to.Revert(from, l.program.proc.PID())
	if applied := l.apply(resources); applied != nil { // also what Revert could work out
		err = errors.Join(err, applied)
	}
	if err = errors.Join(err, to.CheckChange(l.program.proc.PID(), from)); err != nil {
		return fmt.Errorf("put the former limits back: %w", err)
	}
	return nil
}

// resourcesFile hands limits to the runtime.
const resourcesFile = "resources.json"

func (l *limits) apply(r *specs.LinuxResources) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(l.history.entry.Dir, resourcesFile)
	if err := ownfile.Write(file, raw); err != nil {
		return fmt.Errorf("change limits: %w", err)
	}
	return errors.Join(l.program.oci.Update(l.program.alive, resourcesFile), os.Remove(file))
}

// servePause stops the sandbox's processes, or lets them go on.
func (l *limits) servePause(c *wire.Conn, req wire.RequestBody) error {
	pause := req.Op == wire.OpPause
	l.changing.Lock()
	defer l.changing.Unlock()
	if l.program.ended() {
		return errEnded
	}
	switch {
	case l.history.paused() && pause:
		return fmt.Errorf("%w already", ErrPaused)
	case !l.history.paused() && !pause:
		return ErrNotPaused
	case l.planned().Path == "":
		return cgroups.ErrNoCgroup
	}
	if err := l.freeze(pause); err != nil {
		return err
	}
	l.history.note(map[bool]string{true: "pause", false: "unpause"}[pause], attributes{}.by(req.By))
	return c.WriteJSON(wire.Reply, wire.ReplyBody{})
}

// freeze is for a caller that holds changing.
func (l *limits) freeze(pause bool) error {
	status, do := record.Running, l.program.oci.Resume
	if pause {
		status, do = record.Paused, l.program.oci.Pause
	}
	if err := do(l.program.alive); err != nil {
		return err
	}
	return l.history.setStatus(status)
}

// thaw lets the sandbox go on if it is paused.
func (l *limits) thaw() error {
	if !l.history.paused() {
		return nil
	}
	l.changing.Lock()
	defer l.changing.Unlock()
	if !l.history.paused() {
		return nil
	}
	err := l.planned().Thaw()
	if err == nil {
		err = l.history.setStatus(record.Running)
	}
	l.history.note("unpause", nil)
	return err
}
