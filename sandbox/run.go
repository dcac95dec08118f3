// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
	"github.com/claude-pocket-console/cpc/seccomp"
)

// RunRequest is a sandbox to start. Its Runtime is the engine's.
type RunRequest struct {
	record.Asked
	Name   string // "" makes one up
	DryRun bool   // plan only: see Session.Bundle
	Size   *wire.Size
	// Busy, if set, is told what the start waits for, and how far that is, in bytes.
	Busy func(what string, done, total int64)
}

// LimitsError reports limits that this host cannot enforce for this user.
type LimitsError struct {
	Missing []cgroups.Missing
	Running bool // the sandbox runs: nothing can go on without them
}

func (e *LimitsError) Error() string {
	var missing []string
	for _, m := range e.Missing {
		missing = append(missing, fmt.Sprintf("%s (%s)", m.Limit, m.Why))
	}
	return "limits that cannot be enforced here: " + strings.Join(missing, "; ")
}

// Hint says how to have them enforced, or how to do without.
func (e *LimitsError) Hint() string {
	var b strings.Builder
	b.WriteString("To enforce them:")
	said := map[string]bool{}
	for _, m := range e.Missing {
		if !said[m.Fix] {
			said[m.Fix] = true
			b.WriteString("\n  " + strings.ReplaceAll(m.Fix, "\n", "\n  "))
		}
	}
	if e.Running {
		return b.String()
	}
	b.WriteString("\nTo run without them, add one option (permanently: CPC_LIMITS=best-effort):\n  cpc run --limits best-effort ...\nTo see what this machine can enforce and what is missing: cpc doctor")
	return b.String()
}

// PlanLimits says how the limits of a request are put on sandbox id. Limits
// that cannot be enforced are an error unless the request is best effort.
func (e *Engine) PlanLimits(id string, req RunRequest) (cgroups.Plan, error) {
	host, err := cgroups.Probe()
	if err != nil {
		return cgroups.Plan{}, err
	}
	plan, err := host.Plan(id, req.Options.Limits)
	if err != nil {
		return plan, err
	}
	if len(plan.Missing) > 0 && !req.BestEffort {
		return plan, &LimitsError{Missing: plan.Missing}
	}
	return plan, nil
}

// Run starts a sandbox and returns the connection to it once its program runs.
// When Run fails, nothing of the sandbox is left; when ctx is done before the
// program runs, nothing will be.
func (e *Engine) Run(ctx context.Context, req RunRequest) (*Session, error) {
	id := record.NewID()
	plan, err := e.PlanLimits(id, req)
	if err != nil {
		return nil, err
	}
	profile, err := loadProfile(req.Options)
	if err != nil {
		return nil, err
	}
	entry, files, err := e.reserve(id, req, plan)
	if err != nil {
		return nil, err
	}
	defer files.close()
	task := monitor.Task{
		Record: *entry.Record, Dirs: e.Dirs, Plan: plan, Size: req.Size,
		Seccomp: profile, Init: e.init, DryRun: req.DryRun, Private: req.Network.Private(), By: journal.Who(),
	}
	if !req.DryRun {
		if err := plan.StepAside(); err != nil {
			files.close()
			return nil, errors.Join(err, entry.Delete())
		}
	}
	var sharesKeyring *bool
	if e.IDs.Mode != idmap.Root && process.IsOwn(e.Runtime) && seccomp.Refuses(profile, seccomp.KeyCalls()...) {
		sharesKeyring = &task.SharesKeyring
	}
	cmd, err := userns.Start(userns.Child{
		Role: monitor.Role, Args: []string{entry.Record.Name}, IDs: e.IDs, Detached: true, Stderr: files.diagnostics,
		Files: files.list(), SharesKeyring: sharesKeyring,
		Body: func(pid int) (any, error) {
			task.Record.MonitorPID = pid
			return task, plan.OpenScope(context.Background(), pid)
		},
	})
	if err != nil {
		return nil, errors.Join(err, entry.Delete())
	}
	go func() { _ = cmd.Wait() }() // it outlives this process when detached
	s := &Session{ID: id, Name: entry.Record.Name, Notes: plan.Notes, conn: wire.New(files.takeOwner()), entry: entry, MonitorPID: cmd.Process.Pid, busy: req.Busy}
	files.close() // so that the end of the monitor is the end of the connection
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	s.bePatient(ctx, s.MonitorPID, 0)
	err = s.awaitStart()
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	if req.Detach {
		return s, s.Close()
	}
	return s, nil
}

// newRecord is what is known before the monitor takes over.
func (e *Engine) newRecord(id string, req RunRequest, plan cgroups.Plan, mapping idmap.Mapping) *record.Record {
	r := &record.Record{
		ID: id, Name: req.Name, Asked: req.Asked, Status: record.Created, Mapping: mapping, Created: time.Now().UTC(),
		Applied: record.Applied{
			Hostname: cmp.Or(req.Options.Hostname, record.Short(id)), Limits: req.Options.Limits, CgroupPath: plan.Path,
			SharedIDs: mapping.Mode != idmap.Root,
		},
	}
	r.Asked.Runtime = e.Runtime
	if r.Name == "" {
		r.Name = "sandbox-" + record.Short(id)
	}
	for _, m := range plan.Missing {
		r.Applied.NotEnforced = append(r.Applied.NotEnforced, m.Limit)
	}
	return r
}

// startFiles are the files that a monitor inherits.
type startFiles struct {
	listener, lock, owner, idRange *os.File
	ours                           *os.File // our end of the owner socket
	diagnostics                    *os.File
}

func (f *startFiles) list() []*os.File {
	all := []*os.File{f.listener, f.lock, f.owner}
	if f.idRange != nil {
		all = append(all, f.idRange)
	}
	return all
}

func (f *startFiles) close() {
	for _, file := range []**os.File{&f.listener, &f.lock, &f.owner, &f.idRange, &f.ours, &f.diagnostics} {
		if *file != nil {
			_ = (*file).Close()
			*file = nil
		}
	}
}

// takeOwner returns our end of the owner socket as a connection.
func (f *startFiles) takeOwner() net.Conn {
	c, err := net.FileConn(f.ours)
	if err != nil {
		panic("socketpair is not a socket: " + err.Error()) // made by us a moment ago
	}
	return c
}

// reserve makes the sandbox's directories and opens what the monitor inherits.
func (e *Engine) reserve(id string, req RunRequest, plan cgroups.Plan) (_ *record.Entry, _ *startFiles, err error) {
	f := &startFiles{}
	var base uint32
	if e.IDs.Mode == idmap.Root {
		if base, f.idRange, err = userns.TakeRange(e.Dirs.State); err != nil {
			return nil, nil, err
		}
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	entry, lock, err := e.Set.Add(e.newRecord(id, req, plan, e.IDs.Mapping(base)))
	if err != nil {
		return nil, nil, err
	}
	f.lock = lock
	if err = f.open(entry); err == nil {
		err = monitor.SavePlan(entry, plan)
	}
	if err != nil {
		return nil, nil, errors.Join(err, entry.Delete())
	}
	return entry, f, nil
}

func (f *startFiles) open(entry *record.Entry) error {
	l, err := entry.Listen()
	if err != nil {
		return err
	}
	defer l.Close()
	if f.listener, err = l.File(); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("owner socket: %w", err)
	}
	f.ours, f.owner = os.NewFile(uintptr(pair[0]), "owner"), os.NewFile(uintptr(pair[1]), "owner")
	f.diagnostics, err = ownfile.OpenFile(entry.DataDir+"/monitor.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}
