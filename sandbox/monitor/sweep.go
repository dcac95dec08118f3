// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// SweepRole is the hand-off role of the process that cleans up after monitors
// that died. Like a monitor it runs in U0, because the files of a sandbox
// belong to ids that the user can only reach there.
const SweepRole = "sweeper"

// SweepTask says where to clean up.
type SweepTask struct {
	Dirs    dirs.Dirs     `json:"dirs"`
	Mapping idmap.Mapping `json:"mapping"`
}

// planFile keeps the cgroup plan, so that another process can remove the cgroup.
const planFile = "cgroup.json"

// SavePlan keeps a sandbox's cgroup plan beside its record.
func SavePlan(e *record.Entry, p cgroups.Plan) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(e.Dir, planFile), atomicfile.Options{Volatile: true}, atomicfile.Content(raw))
}

// maxPlan bounds the file of a plan.
const maxPlan = 1 << 20

// PlanOf is LoadPlan that, where the plan cannot be read, makes the one that this
// host would make now. A sandbox that never had a plan is os.ErrNotExist.
func PlanOf(e *record.Entry) (cgroups.Plan, error) {
	p, err := LoadPlan(e)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return p, err
	}
	return likelyPlan(e.Record.ID)
}

func likelyPlan(id string) (cgroups.Plan, error) {
	host, err := cgroups.Probe()
	if err != nil {
		return cgroups.Plan{}, err
	}
	return host.Plan(id, cgroups.Limits{})
}

// LoadPlan returns the plan that SavePlan has kept. Another sandbox's, to which a link
// or a copy of a directory leads, is an error: what it names is in use.
func LoadPlan(e *record.Entry) (cgroups.Plan, error) {
	var p cgroups.Plan
	raw, err := ownfile.Read(filepath.Join(e.Dir, planFile), maxPlan)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err == nil && !planOf(p, e.Record.ID) {
		p, err = cgroups.Plan{}, errors.New("it is that of another sandbox")
	}
	if err != nil {
		return p, fmt.Errorf("cgroup plan: %w", err)
	}
	return p, nil
}

// planOf reports whether all that a plan names is of the sandbox with this id.
func planOf(p cgroups.Plan, id string) bool {
	for _, name := range append([]string{p.Path, p.Scope}, p.Dirs...) {
		if name != "" && !strings.Contains(name, id) {
			return false
		}
	}
	return true
}

// SweepMain is the sweeping process. It returns its exit status.
func SweepMain() int {
	var t SweepTask
	err := handoff.Receive(SweepRole, &t)
	if err == nil {
		err = sweep(t)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cpc: clean up after sandboxes that died: %s\n", visible.Error(err))
		return 1
	}
	return 0
}

func sweep(t SweepTask) error {
	hostProc, err := userns.Settle(t.Mapping.Mode)
	if err != nil {
		return err
	}
	defer hostProc.Close()
	store, err := rootfs.Open(rootfs.Options{Dir: t.Dirs.Data, Mapping: t.Mapping})
	if err != nil {
		return err
	}
	defer store.Close()
	return record.Set{Dirs: t.Dirs}.Sweep(cleaner{store: store, data: t.Dirs.Data, dirs: t.Dirs})
}

// cleaner implements record.Cleaner.
type cleaner struct {
	store *rootfs.Store
	data  string
	dirs  dirs.Dirs
}

// Orphan removes what a reboot has left, or the loss of the state directory:
// then there may still be a cgroup, where this host would put it.
func (c cleaner) Orphan(id string) error {
	p, err := likelyPlan(id)
	if err == nil {
		err = p.Remove()
	}
	return errors.Join(err, c.store.RemoveScratch(id), os.RemoveAll(filepath.Join(c.data, "sandboxes", id)))
}

// Step removes the cgroup of a build step. A note that names another's is of no use.
func (cleaner) Step(id string, note []byte) error {
	if len(note) == 0 {
		return nil // the builder died before it began
	}
	var p cgroups.Plan
	if err := json.Unmarshal(note, &p); err != nil {
		return fmt.Errorf("cgroup plan: %w", err)
	}
	if !planOf(p, id) {
		return nil
	}
	return p.Remove()
}

// Sandbox removes what a sandbox has left and makes its record final.
func (c cleaner) Sandbox(e *record.Entry) error {
	err := removeCgroup(e)
	err = errors.Join(err, c.store.RemoveScratch(e.Record.ID))
	if info, statErr := os.Lstat(e.Dir); statErr == nil && info.IsDir() { // and no link to another's
		for _, name := range []string{"runtime", "bundle", "control.sock", "console.sock"} {
			err = errors.Join(err, os.RemoveAll(filepath.Join(e.Dir, name)))
		}
	}
	r := e.Record
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", record.Short(r.ID), err)
	}
	common, own := journal.Common(record.Set{Dirs: c.dirs}), journal.Of(e)
	why := "killed: its monitor died"
	if !r.Started.IsZero() {
		die := journal.New(r, "die", map[string]string{"exitCode": "137", "reason": why})
		err = common.Append(die)
		noted := own.Append(die) // either log may be full
		err = errors.Join(err, noted)
	}
	if r.Asked.AutoRemove || r.Status == record.Dead || r.Started.IsZero() {
		gone := e.Delete()
		if gone == nil {
			gone = common.Append(journal.New(r, "destroy", nil))
		}
		return errors.Join(gone, err)
	}
	r.Status, r.Finished, r.PID = record.Exited, time.Now().UTC(), 0
	r.Outcome.ExitCode = 128 + int(unix.SIGKILL)
	r.Outcome.Reason = why
	saved := e.Save()
	return errors.Join(saved, err)
}

func removeCgroup(e *record.Entry) error {
	p, err := PlanOf(e)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.Remove()
}
