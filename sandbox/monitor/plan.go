// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// plan finds out who the program will be and writes the bundle.
func (m *monitor) plan() error {
	r, o := m.history.record(), *m.task.options()
	o.Binds = append(slices.Clone(o.Binds), m.root.binds...)
	asked := o.UserSpec(m.root.image)
	user, err := m.resolveUser(asked)
	if err != nil {
		return err
	}
	home, user, err := m.root.openHome(&o, user, r.Mapping)
	if err != nil {
		return err
	}
	o.Terminal = bundle.KnownTerminal(m.root.path, o.Terminal)
	host, err := bundle.ProbeHost()
	if err != nil {
		return err
	}
	if !process.IsOwn(r.Asked.Runtime) {
		host.Quotas = nil // older ones refuse a sandbox for such a sysctl
	}
	files, err := r.Asked.Network.WriteFiles(m.root.stage, r.Applied.Hostname, o.Network, m.outlet.net)
	if err != nil {
		return err
	}
	if err := m.root.confine.labels.Mark(files.Hostname, files.Hosts, files.ResolvConf); err != nil {
		return err
	}
	m.input = bundle.Input{
		Options: o, ID: r.ID, Image: m.root.image, User: user, Mapping: r.Mapping, Cgroup: m.limits.planned(),
		Rootfs: m.root.path, Seccomp: m.task.Seccomp, Confine: m.root.confine.plan(), Files: files, Host: host,
		Home: home, Init: bundle.Init{Path: m.task.Init, Args: []string{"reaper"}},
	}
	if d := m.root.disk; d != nil {
		m.input.Disk = &bundle.Disk{Size: d.Size, Tier: d.Tier}
	}
	spec, err := bundle.Plan(m.input)
	if err != nil {
		return err
	}
	if err := process.Bound(spec.Process, r.Mapping.Mode, r.Asked.Runtime); err != nil {
		return err
	}
	m.history.set(func(r *record.Record) {
		a := &r.Applied
		a.User, a.Disk, a.Home, a.Places = asked, m.root.disk, m.root.home, m.root.places
		a.Command, a.Workdir, a.Env = spec.Process.Args, spec.Process.Cwd, spec.Process.Env
	})
	if m.config, err = json.MarshalIndent(spec, "", "  "); err != nil {
		return err
	}
	dir := filepath.Join(m.history.entry.Dir, "bundle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), m.config, 0o600)
}

// resolveUser looks a user up in the sandbox's files, with the further groups that
// were asked for.
func (m *monitor) resolveUser(name string) (bundle.ResolvedUser, error) {
	user, err := bundle.ResolveUser(m.root.path, name)
	if err != nil {
		return user, err
	}
	return bundle.AddGroups(m.root.path, user, m.task.options().GroupAdd)
}
