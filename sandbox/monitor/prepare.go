// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/emulate"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// prepareRoot unpacks what is not unpacked yet and mounts the root file system.
func (m *monitor) prepareRoot(ctx context.Context) error {
	r := m.entry.Record
	store, err := rootfs.Open(rootfs.Options{Dir: m.task.Dirs.Data, Mapping: r.Mapping, Progress: m.tellUnpacking()})
	if err != nil {
		return err
	}
	m.store = store
	m.later(store.Close)
	img, err := store.Image(ctx, r.ImageDigest)
	if err != nil {
		return err
	}
	release, err := store.Use(img)
	if err != nil {
		return err
	}
	m.later(func() error { release(); return nil })
	if arch := img.Platform().Architecture; !emulate.Native(arch) {
		if err := emulate.Enable(r.Mapping.Mode, arch); err != nil {
			return fmt.Errorf("the image is for %s: %w", rootfs.FormatPlatform(img.Platform()), err)
		}
	}
	layers, err := store.Layers(ctx, img)
	if err != nil {
		return err
	}
	scratch, err := store.NewScratch(r.ID)
	if err != nil {
		return err
	}
	m.later(func() error { return store.RemoveScratch(r.ID) })
	return m.mountRoot(img, layers, scratch)
}

// tellUnpacking returns what tells the owner of layers that are unpacked, now and
// then. An owner that does not hear it is found out later.
func (m *monitor) tellUnpacking() func(rootfs.Event) {
	const often = 200 * time.Millisecond
	var sum rootfs.Unpacking
	var told string
	var last time.Time
	return func(e rootfs.Event) {
		what, done, total := sum.Add(e)
		if what == told && time.Since(last) < often {
			return
		}
		told, last = what, time.Now()
		_ = m.owner.WriteJSON(wire.Busy, wire.BusyBody{What: what, Done: done, Total: total})
	}
}

// mountRoot mounts the root file system and what is on the sandbox's disk.
func (m *monitor) mountRoot(img *rootfs.Image, layers []rootfs.Layer, scratch string) error {
	r := m.entry.Record
	stage, err := userns.Stage(m.task.Dirs.Data, m.task.Dirs.State, r.Settings.Runtime, m.task.Init)
	if err != nil {
		return err
	}
	target := filepath.Join(stage, "rootfs")
	if err := os.Mkdir(target, 0o711); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if err := m.planLabels(); err != nil {
		return err
	}
	if !confine.SELinuxOn() { // which knows the host's nodes by labels that new ones do not have
		if err := userns.OwnDevices(); err != nil {
			return err
		}
	}
	paths, err := bundle.DiskPaths(m.task.Options, img.Config.Config)
	if err != nil {
		return err
	}
	dir, err := m.openDisk(stage, scratch, paths)
	if err != nil {
		return err
	}
	if dir != "" && !m.task.Options.ReadOnly {
		scratch = filepath.Join(dir, "root")
		if err := os.Mkdir(scratch, 0o700); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
	}
	m.mounted, err = rootfs.Mount(rootfs.MountOptions{
		Layers: layers, Scratch: scratch, Target: target, Mapping: r.Mapping, Volatile: true, Label: m.labels.Mount,
	})
	if err != nil {
		return err
	}
	m.later(m.mounted.Close)
	binds, err := m.fillDisk(dir, paths)
	if err != nil {
		return err
	}
	m.task.Options.Binds = append(m.task.Options.Binds, binds...)
	return m.plan(img, stage)
}

// plan finds out who the program will be and writes the bundle.
func (m *monitor) plan(img *rootfs.Image, stage string) error {
	r, o := m.entry.Record, m.task.Options
	asked := o.UserSpec(img.Config.Config)
	user, err := bundle.ResolveUser(m.mounted.Root, asked)
	if err != nil {
		return err
	}
	if user, err = bundle.AddGroups(m.mounted.Root, user, o.GroupAdd); err != nil {
		return err
	}
	r.Settings.User = asked
	host, err := bundle.ProbeHost()
	if err != nil {
		return err
	}
	if !process.IsOwn(r.Settings.Runtime) {
		host.Quotas = nil // older ones refuse a sandbox for such a sysctl
	}
	files, err := m.openNetwork(stage)
	if err != nil {
		return err
	}
	if err := m.labels.Mark(files.Hostname, files.Hosts, files.ResolvConf); err != nil {
		return err
	}
	m.input = bundle.Input{
		Options: o, ID: r.ID, Image: img.Config.Config, User: user, Mapping: r.Mapping, Cgroup: m.task.Plan,
		Rootfs: m.mounted.Root, Seccomp: m.task.Seccomp, Confine: m.confinement(), Disk: m.disk, Files: files, Host: host,
		Init: bundle.Init{Path: m.task.Init, Args: []string{"reaper"}},
	}
	spec, err := bundle.Plan(m.input)
	if err != nil {
		return err
	}
	if err := process.Bound(spec.Process, r.Mapping.Mode, r.Settings.Runtime); err != nil {
		return err
	}
	r.Command, r.Settings.Workdir, r.Settings.Env = spec.Process.Args, spec.Process.Cwd, spec.Process.Env
	if m.config, err = json.MarshalIndent(spec, "", "  "); err != nil {
		return err
	}
	dir := filepath.Join(m.entry.Dir, "bundle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), m.config, 0o600)
}

// openOutput makes the log, if output is to be kept.
func (m *monitor) openOutput() error {
	m.out = &fanout{ended: m.exited}
	if m.task.Options.NoLog {
		return nil
	}
	log, err := logfile.Create(m.entry.DataDir)
	if err != nil {
		return err
	}
	m.out.log = log
	m.later(log.Close)
	return nil
}

// create has the runtime make the container, up to but not including its program.
func (m *monitor) create() error {
	r := m.entry.Record
	if err := m.openOutput(); err != nil {
		return err
	}
	var err error
	uid, gid := process.CallerIDs(r.Mapping, m.input.User)
	if m.io, err = process.NewStdio(r.Settings.TTY, r.Settings.OpenStdin, uid, gid); err != nil {
		return err
	}
	m.later(func() error { m.io.Close(); return nil })
	console := ""
	if r.Settings.TTY {
		console = "console.sock"
		if err := m.io.ListenConsole(m.entry.Dir, console); err != nil {
			return err
		}
	}
	m.oci = &process.Runtime{Path: r.Settings.Runtime, Dir: m.entry.Dir, ID: r.ID, KeepKeyring: m.task.SharesKeyring}
	m.later(m.task.Plan.Remove)
	m.later(func() error { return m.oci.Delete(context.Background()) })
	m.note("create", nil)
	m.noted = true
	if m.pid, err = m.oci.Create(m.alive, m.io.Child, console); err != nil {
		return err
	}
	if m.pidfd, err = unix.PidfdOpen(m.pid, 0); err != nil {
		return fmt.Errorf("watch process %d: %w", m.pid, err)
	}
	m.io.Started()
	if console != "" {
		if err := m.io.TakeConsole(); err != nil {
			return err
		}
	}
	if err := m.checkLimits(); err != nil {
		return err
	}
	return m.connectNetwork()
}

// checkLimits reads back what the kernel enforces, before the program runs,
// and watches for violations from then on.
func (m *monitor) checkLimits() error {
	if m.task.Plan.Path == "" {
		return nil // best effort: there is no cgroup to look at
	}
	if err := m.task.Plan.Check(m.pid); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	events, err := m.task.Plan.Watch(ctx, m.pid)
	if err != nil {
		stop()
		return err
	}
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		m.onEvents(events)
	}()
	// The watcher takes a last look when it is stopped: what killed the
	// sandbox is on record before the outcome is.
	m.endWatch = func() {
		stop()
		<-seen
	}
	return nil
}
