// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Step is a command to run in a root file system that is mounted already, as a
// RUN instruction of a Dockerfile does.
type Step struct {
	Rootfs         string
	Args, Env      []string
	Dir, User      string
	Stdout, Stderr io.Writer
	Mapping        idmap.Mapping
}

// Steps runs steps one after the other in the calling process, which must be
// pid 1 of a pid namespace (userns.Settle): it is the parent of what it runs.
type Steps struct {
	set     record.Set
	runtime string
	seccomp *specs.LinuxSeccomp
	stage   string
}

// NewSteps prepares the calling process to run steps. The paths in use are
// those that must stay visible.
func NewSteps(set record.Set, runtime string, profile *specs.LinuxSeccomp, inUse ...string) (*Steps, error) {
	stage, err := userns.Stage(append(inUse, runtime, set.Dirs.Data, set.Dirs.State)...)
	if err != nil {
		return nil, err
	}
	return &Steps{set: set, runtime: runtime, seccomp: profile, stage: stage}, nil
}

// Run runs one step and returns its exit status. The error is for what kept
// it from running.
func (s *Steps) Run(ctx context.Context, step Step) (code int, err error) {
	dir, err := os.MkdirTemp(s.stage, "step-")
	if err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the sandbox's root passes through it
		return 0, err
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(root, 0o711); err != nil { //nolint:gosec // see above
		return 0, err
	}
	if err := unix.Mount(step.Rootfs, root, "", unix.MS_BIND, ""); err != nil {
		return 0, fmt.Errorf("bind root file system: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(root, unix.MNT_DETACH)) }()
	input, err := s.plan(step, dir, root)
	if err != nil {
		return 0, err
	}
	note, err := json.Marshal(input.Cgroup)
	if err != nil {
		return 0, err
	}
	done, err := s.set.AddStep(input.ID, note)
	if err != nil {
		return 0, err
	}
	code, err = s.execute(ctx, step, input, dir)
	return code, errors.Join(err, done())
}

func (s *Steps) plan(step Step, dir, root string) (bundle.Input, error) {
	var input bundle.Input
	asked := step.User
	if asked == "" {
		asked = "0:0"
	}
	user, err := bundle.ResolveUser(root, asked)
	if err != nil {
		return input, err
	}
	host, err := bundle.ProbeHost()
	if err != nil {
		return input, err
	}
	o := bundle.BuildStep()
	o.Hostname = "build"
	o.Entrypoint, o.Args, o.Env, o.Workdir = new(string), step.Args, step.Env, step.Dir
	files, err := writeNetFiles(dir, o.Hostname, o.Network)
	if err != nil {
		return input, err
	}
	id := record.NewID()
	limits, err := cgroups.Probe()
	if err != nil {
		return input, err
	}
	cgroup, err := limits.WithoutSystemd().Plan(id, o.Limits)
	if err != nil {
		return input, err
	}
	input = bundle.Input{
		Options: o, ID: id, User: user, Mapping: step.Mapping, Cgroup: cgroup, Rootfs: root,
		Seccomp: s.seccomp, Files: files, Host: host,
	}
	spec, err := bundle.Plan(input)
	if err != nil {
		return input, err
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return input, err
	}
	if err := os.Mkdir(filepath.Join(dir, "bundle"), 0o700); err != nil {
		return input, err
	}
	return input, os.WriteFile(filepath.Join(dir, "bundle", "config.json"), raw, 0o600)
}

func (s *Steps) execute(ctx context.Context, step Step, input bundle.Input, dir string) (code int, err error) {
	runtime := &oci{path: s.runtime, dir: dir, id: input.ID}
	uid, gid := callerIDs(step.Mapping, input.User)
	streams, err := newStdio(false, false, uid, gid)
	if err != nil {
		return 0, err
	}
	defer streams.close()
	pid, err := runtime.create(streams.child, "")
	streams.started()
	if err != nil {
		return 0, errors.Join(err, runtime.remove(), input.Cgroup.Remove())
	}
	exited := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	defer stop()
	if err := runtime.start(); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		reap(pid)
		return 0, errors.Join(err, runtime.remove(), input.Cgroup.Remove())
	}
	status := make(chan unix.WaitStatus, 1)
	go func() {
		st := reap(pid)
		close(exited)
		status <- st
	}()
	streams.pump(exited, func(t wire.Type, p []byte) {
		w := step.Stdout
		if t == wire.Stderr {
			w = step.Stderr
		}
		_, _ = w.Write(p) // what shows the output decides what to do when it cannot
	})
	code = exitCode(<-status)
	return code, errors.Join(ctx.Err(), runtime.remove(), input.Cgroup.Remove())
}
