// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"

	// Lets the cgroup code set device rules.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// CreateOptions are what create and run have in common.
type CreateOptions struct {
	Bundle        string // directory with config.json; "" is the current one
	ConsoleSocket string // unix socket that is sent the terminal's master
	PidfdSocket   string // unix socket that is sent a pidfd of init
	PidFile       string // gets init's pid, as this process sees it
	NoPivot       bool   // chroot-like MS_MOVE instead of pivot_root
	NoNewKeyring  bool   // keep the caller's session keyring
	PreserveFDs   int    // pass descriptors 3 to 3+N-1
}

// RunOptions are the options of run.
type RunOptions struct {
	CreateOptions
	Detach      bool // do not wait
	Keep        bool // do not delete the container when it has ended
	NoSubreaper bool // do not adopt the container's orphans
}

// Create makes a container and leaves it waiting for Start.
func (r Runtime) Create(id string, o CreateOptions) error {
	err := r.states().locked(id, makes, func() error {
		m, err := r.newContainer(id, &o, notifierFor(r.Root, id))
		if err != nil {
			return err
		}
		l := launch{container: m.container, dir: r.states().dir(id), spec: m.spec.Process, init: true, detach: true, options: o, plan: m.planner}
		_, err = m.start(&l, (*libcontainer.Container).Start)
		return err
	})
	if err != nil {
		return fmt.Errorf("create %s: %w", id, err)
	}
	return nil
}

// Run makes a container, starts it and, unless detached, waits for its end and
// deletes it. It returns the exit status of the container's init.
func (r Runtime) Run(id string, o RunOptions) (int, error) {
	return r.run("run", id, o, (*libcontainer.Container).Start)
}

// run is Run with some way to get the first process going.
func (r Runtime) run(op, id string, o RunOptions, how starter) (int, error) {
	var (
		c *libcontainer.Container
		s *supervisor
	)
	n := notifierFor(r.Root, id)
	err := r.states().locked(id, makes, func() error {
		m, err := r.newContainer(id, &o.CreateOptions, n)
		if err != nil {
			return err
		}
		if err := n.listen(); err != nil {
			return m.runtime.discard(m.container, err)
		}
		l := launch{
			container: m.container, dir: r.states().dir(id), spec: m.spec.Process, init: true, options: o.CreateOptions,
			detach: o.Detach, subreaper: !o.Detach && !o.NoSubreaper,
		}
		if op == "run" { // and not restore
			l.plan, l.release = m.planner, true
		}
		if s, err = m.start(&l, how); err != nil {
			return err
		}
		c = m.container
		if err := r.runPoststart(c, m.hooks); err != nil {
			_, _ = s.process.Wait()
			s.stdio.close()
			return r.discard(c, err)
		}
		return nil
	})
	if err == nil {
		err = s.notify(n, o.Detach)
	} else {
		n.close()
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", op, id, err)
	}
	if o.Detach {
		return 0, nil
	}
	status := s.wait()
	if o.Keep {
		return status, nil
	}
	if err := r.states().locked(id, changes, func() error { return r.destroy(c) }); err != nil {
		return status, fmt.Errorf("%s %s: %w", op, id, err)
	}
	return status, nil
}

// making is a container that is being made.
type making struct {
	runtime   Runtime
	id        string
	spec      *specs.Spec
	config    *configs.Config
	hooks     poststart
	notifier  *notifier
	links     []symlink
	container *libcontainer.Container
}

// newContainer enters the bundle and registers a container for it. Paths in o
// become absolute.
func (r Runtime) newContainer(id string, o *CreateOptions, n *notifier) (*making, error) {
	for _, path := range []*string{&o.ConsoleSocket, &o.PidfdSocket, &o.PidFile} {
		if err := makeAbs(path); err != nil {
			return nil, err
		}
	}
	if o.Bundle != "" {
		if err := os.Chdir(o.Bundle); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
	}
	rootless, err := r.rootlessCgroups()
	if err != nil {
		return nil, err
	}
	if !rootless && !r.SystemdCgroup {
		go hurryCgroups()
	}
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	n.addTo(spec)
	links, err := takeSymlinks(spec)
	if err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       id,
		UseSystemdCgroup: r.SystemdCgroup,
		NoPivotRoot:      o.NoPivot,
		NoNewKeyring:     o.NoNewKeyring,
		Spec:             spec,
		RootlessEUID:     os.Geteuid() != 0,
		RootlessCgroups:  rootless,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	bindDevices(config)
	m := &making{runtime: r, id: id, spec: spec, config: config, hooks: takePoststart(config), notifier: n, links: links}
	return m, m.register()
}

// register makes the container's directory.
func (m *making) register() (err error) {
	if m.container, err = libcontainer.Create(m.runtime.Root, m.id, m.config); err != nil {
		return err
	}
	err = m.runtime.writeIntent(m.container, m.hooks)
	if err == nil {
		err = m.notifier.makeDir()
	}
	if err != nil {
		return m.runtime.discard(m.container, err)
	}
	return nil
}

// start starts the first process, the quick way if there is a planner. When it fails,
// nothing is left of the container.
func (m *making) start(l *launch, how starter) (*supervisor, error) {
	l.links = len(m.links) > 0
	s, err := l.startHolding(how)
	if failed, ok := errors.AsType[longWayError](err); ok && !l.links {
		// libcontainer does more, and says best what is wrong.
		l.plan, l.reason = nil, failed
		if err := m.again(); err != nil {
			return nil, err
		}
		l.container = m.container
		s, err = l.startHolding(how)
	}
	if err == nil && l.reason != nil {
		err = m.tookLongWay(l.reason)
	}
	if err != nil {
		return nil, m.runtime.discard(m.container, err)
	}
	return s, nil
}

// again makes the container anew. No hook has run in the first, nor does one now.
func (m *making) again() error {
	hooks := m.config.Hooks
	m.config.Hooks = nil
	err := m.runtime.destroy(m.container)
	if m.config.Hooks = hooks; err != nil {
		return err
	}
	return m.register()
}

// discard removes a container that could not be started.
func (r Runtime) discard(c *libcontainer.Container, cause error) error {
	if errors.Is(cause, os.ErrPermission) && !c.Config().RootlessCgroups && os.Geteuid() != 0 {
		cause = fmt.Errorf("%w (%w)", cause, errNoCgroup)
	}
	if err := r.destroy(c); err != nil {
		logrus.Warnf("remove container %s: %v", c.ID(), err)
	}
	return cause
}
