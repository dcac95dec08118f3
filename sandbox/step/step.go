// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package step runs the commands of a Dockerfile's RUN instructions: sandboxes
// that nobody attaches to, in the builder's own process; several may run at the same time.
package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/process"
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
	// Mounts are what it finds in its root beside its files.
	Mounts []Mount
	// Network is "" for the default, or one of package bundle's.
	Network string
}

// Mount is a directory or file that is bound into a step's root, or a tmpfs.
type Mount struct {
	Target string
	// Source is what to bind, and out of reach of all steps; "" is a tmpfs.
	Source   string
	ReadOnly bool
	// Size bounds a tmpfs; 0 is the kernel's default.
	Size int64
}

// Runner runs steps in the calling process, which must be
// pid 1 of a pid namespace (userns.Settle): it is the parent of what it runs.
type Runner struct {
	set     record.Set
	runtime string
	seccomp *specs.LinuxSeccomp
	network network.Options
	options bundle.Options
	stage   string
}

// Config is what all steps of a build have in common.
type Config struct {
	Set     record.Set
	Runtime string
	Seccomp *specs.LinuxSeccomp
	Network network.Options
	// Options are what every step gets, command, user and network apart.
	Options bundle.Options
	// InUse are paths that must stay visible.
	InUse []string
}

// New prepares the calling process to run steps.
func New(c Config) (*Runner, error) {
	stage, err := userns.Stage(append(c.InUse, c.Runtime, c.Set.Dirs.Data, c.Set.Dirs.State)...)
	if err != nil {
		return nil, err
	}
	if !confine.SELinuxOn() {
		if err := userns.OwnDevices(); err != nil {
			return nil, err
		}
	}
	return &Runner{set: c.Set, runtime: c.Runtime, seccomp: c.Seccomp, network: c.Network, options: c.Options, stage: stage}, nil
}

// Run runs one step and returns its exit status. The error is for what kept
// it from running.
func (s *Runner) Run(ctx context.Context, step Step) (code int, err error) {
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
	binds, undo, err := stageMounts(dir, step.Mounts)
	defer func() { err = errors.Join(err, undo()) }()
	if err != nil {
		return 0, err
	}
	if step.Network == "" {
		step.Network = s.options.Network
	}
	id := record.NewID()
	g, err := s.openGate(id, step.Network)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	files, err := s.network.WriteFiles(dir, hostname, step.Network, g.net)
	if err != nil {
		return 0, err
	}
	input, err := s.plan(step, bundle.Input{ID: id, Rootfs: root, Options: bundle.Options{Binds: binds}, Files: files}, dir)
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
	code, err = s.execute(ctx, step, execution{input, dir, g})
	if code != 0 && err == nil {
		g.tell(step.Stderr)
	}
	ended := done()
	return code, errors.Join(err, ended)
}

// hostname is a step's.
const hostname = "build"

// stageMounts binds the sources of mounts below dir, where the step's root
// may pass: what cpc mounts elsewhere is closed to it.
func stageMounts(dir string, mounts []Mount) (binds []bundle.Bind, undo func() error, err error) {
	var done []string
	undo = func() error {
		var errs []error
		for _, at := range slices.Backward(done) {
			errs = append(errs, unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
		}
		return errors.Join(errs...)
	}
	for i, m := range mounts {
		if m.Source == "" {
			continue
		}
		at := filepath.Join(dir, "mount"+strconv.Itoa(i))
		info, err := os.Stat(m.Source)
		if err != nil {
			return nil, undo, fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		if info.IsDir() {
			err = os.Mkdir(at, 0o700)
		} else {
			err = os.WriteFile(at, nil, 0o600)
		}
		if err != nil {
			return nil, undo, fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		if err := unix.Mount(m.Source, at, "", unix.MS_BIND, ""); err != nil {
			return nil, undo, fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		done = append(done, at)
		binds = append(binds, bundle.Bind{Source: at, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return binds, undo, nil
}

// plan completes the input of a step's bundle and writes the bundle.
func (s *Runner) plan(step Step, input bundle.Input, dir string) (bundle.Input, error) {
	asked := step.User
	if asked == "" {
		asked = "0:0"
	}
	var err error
	if input.User, err = bundle.ResolveUser(input.Rootfs, asked); err != nil {
		return input, err
	}
	if input.Host, err = bundle.ProbeHost(); err != nil {
		return input, err
	}
	if !process.IsOwn(s.runtime) {
		input.Host.Quotas = nil // older ones refuse a sandbox for such a sysctl
	}
	o := s.options
	o.Hostname, o.Network = hostname, step.Network
	o.Entrypoint, o.Args, o.Env, o.Workdir = new(string), step.Args, step.Env, step.Dir
	o.Binds = input.Binds
	for _, m := range step.Mounts {
		if m.Source == "" {
			o.Tmpfs = append(o.Tmpfs, bundle.Tmpfs{Path: m.Target, Size: m.Size, Exec: true, ReadOnly: m.ReadOnly, Mode: new(uint32(0o1777))})
		}
	}
	limits, err := cgroups.Probe()
	if err != nil {
		return input, err
	}
	if input.Cgroup, err = limits.WithoutSystemd().Plan(input.ID, o.Limits); err != nil {
		return input, err
	}
	if input.Confine.AppArmor, err = confine.AppArmor(o.AppArmor); err != nil {
		return input, err
	}
	input.Options, input.Mapping, input.Seccomp = o, step.Mapping, s.seccomp
	spec, err := bundle.Plan(input)
	if err != nil {
		return input, err
	}
	if err := process.Bound(spec.Process, step.Mapping.Mode, s.runtime); err != nil {
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

// execution is a step that is ready to run.
type execution struct {
	input bundle.Input
	dir   string
	gate  *gate
}

func (s *Runner) execute(ctx context.Context, step Step, x execution) (code int, err error) {
	input := x.input
	runtime := &process.Runtime{Path: s.runtime, Dir: x.dir, ID: input.ID}
	uid, gid := process.CallerIDs(step.Mapping, input.User)
	program, err := runtime.Create(ctx, process.Streams{UID: uid, GID: gid})
	if err != nil {
		return 0, errors.Join(err, runtime.Delete(context.WithoutCancel(ctx)), input.Cgroup.Remove())
	}
	defer program.Close()
	exited := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = program.Signal(unix.SIGKILL) })
	defer stop()
	if x.gate.net != nil {
		err = network.Connect(x.gate.net, program.PID())
	}
	if err == nil {
		err = runtime.Start(ctx)
	}
	if err != nil {
		_ = program.Signal(unix.SIGKILL)
		program.Wait()
		return 0, errors.Join(err, runtime.Delete(context.WithoutCancel(ctx)), input.Cgroup.Remove())
	}
	status := make(chan unix.WaitStatus, 1)
	go func() {
		st := program.Wait()
		close(exited)
		status <- st
	}()
	program.Pump(exited, func(t wire.Type, p []byte) {
		w := step.Stdout
		if t == wire.Stderr {
			w = step.Stderr
		}
		_, _ = w.Write(p) // what shows the output decides what to do when it cannot
	})
	code = process.ExitCode(<-status)
	return code, errors.Join(ctx.Err(), runtime.Delete(context.WithoutCancel(ctx)), input.Cgroup.Remove())
}
