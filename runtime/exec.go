// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// ExecOptions describe a further process of a running container. It is that
// of ProcessFile, or the bundle's with the changes given here.
type ExecOptions struct {
	ProcessFile string   // JSON of an OCI process; excludes Args
	Args        []string // command
	Cwd         string
	Env         []string // added: K=V
	User        string   // UID or UID:GID, numbers
	Groups      []uint32 // added supplementary groups
	Caps        []string // added capabilities
	TTY         bool
	// NoNewPrivs overrides the bundle's value; nil keeps it.
	NoNewPrivs   *bool
	AppArmor     string
	ProcessLabel string
	Cgroups      []string // [controller[,controller]:]path below the container's cgroup
	IgnorePaused bool
	Detach       bool

	ConsoleSocket string
	PidfdSocket   string
	PidFile       string
	PreserveFDs   int
}

// Exec runs a process in a container and returns its exit status, or 0 at once
// when detached.
func (r Runtime) Exec(id string, o ExecOptions) (int, error) {
	status, err := r.exec(id, o)
	if err != nil {
		return 0, fmt.Errorf("exec %s: %w", id, err)
	}
	return status, nil
}

func (r Runtime) exec(id string, o ExecOptions) (int, error) {
	// The container sees the command line of who joins it: no path of the host's.
	os.Args[0] = filepath.Base(os.Args[0])
	if os.Geteuid() == 0 && !cgroups.IsCgroup2UnifiedMode() { // there, init is cloned into its cgroup
		go hurryCgroups()
	}
	for _, path := range []*string{&o.ConsoleSocket, &o.PidfdSocket, &o.PidFile, &o.ProcessFile} {
		if err := makeAbs(path); err != nil {
			return 0, err
		}
	}
	l := launch{
		detach: o.Detach,
		options: CreateOptions{
			ConsoleSocket: o.ConsoleSocket, PidfdSocket: o.PidfdSocket,
			PidFile: o.PidFile, PreserveFDs: o.PreserveFDs,
		},
	}
	s, err := r.execQuickly(id, &o, &l)
	if s == nil {
		why := err
		if s, err = r.execSlowly(id, &o, &l); err == nil {
			s.shell = !r.AsRunc
			r.countLongWay("exec "+id, why)
		}
	} else if err == nil {
		err = s.writePidFile(o.PidFile)
	}
	if err != nil || o.Detach {
		return 0, err
	}
	return s.wait(), nil
}

// execSlowly starts a process with libcontainer.
func (r Runtime) execSlowly(id string, o *ExecOptions, l *launch) (*supervisor, error) {
	c, err := r.states().load(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	switch {
	case status == libcontainer.Stopped:
		return nil, errStatus("exec in", status)
	case status == libcontainer.Paused && !o.IgnorePaused:
		return nil, fmt.Errorf("%w (use --ignore-paused to override)", errStatus("exec in", status))
	}
	if l.spec, err = o.process(c.Config().Labels); err != nil {
		return nil, err
	}
	if l.cgroups, err = subCgroups(o.Cgroups); err != nil {
		return nil, err
	}
	l.container = c
	return l.start((*libcontainer.Container).Run)
}

// process builds what to run in a container with these labels.
func (o *ExecOptions) process(labels []string) (*specs.Process, error) {
	if o.ProcessFile != "" {
		var p specs.Process
		if err := readJSON(o.ProcessFile, &p); err != nil {
			return nil, err
		}
		p.Terminal = p.Terminal || o.TTY
		return &p, checkProcess(&p)
	}
	bundle, ok := utils.SearchLabels(labels, "bundle")
	if !ok {
		return nil, fmt.Errorf("%w: no bundle in it", ErrCorruptState)
	}
	if err := os.Chdir(bundle); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	p, err := loadProcess()
	if err != nil {
		return nil, err
	}
	if err := o.change(p); err != nil {
		return nil, err
	}
	return p, checkProcess(p)
}

// change applies the options to the bundle's process.
func (o *ExecOptions) change(p *specs.Process) error {
	p.Args = o.Args
	p.Terminal = o.TTY
	p.ConsoleSize = nil
	p.Env = append(p.Env, o.Env...)
	p.User.AdditionalGids = append(p.User.AdditionalGids, o.Groups...)
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	if o.AppArmor != "" {
		p.ApparmorProfile = o.AppArmor
	}
	if o.ProcessLabel != "" {
		p.SelinuxLabel = o.ProcessLabel
	}
	if o.NoNewPrivs != nil {
		p.NoNewPrivileges = *o.NoNewPrivs
	}
	if len(o.Caps) > 0 {
		addCaps(p, o.Caps)
	}
	return setUser(&p.User, o.User)
}

// addCaps adds to what the process can do and may ever do. Ambient needs
// inheritable, so it only grows where the bundle uses that.
func addCaps(p *specs.Process, caps []string) {
	if p.Capabilities == nil {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	c := p.Capabilities
	sets := []*[]string{&c.Bounding, &c.Effective, &c.Permitted}
	if len(c.Inheritable) > 0 {
		sets = append(sets, &c.Inheritable, &c.Ambient)
	}
	for _, set := range sets {
		for _, name := range caps {
			if !slices.Contains(*set, name) {
				*set = append(*set, name)
			}
		}
	}
}

// setUser parses UID[:GID]; "" changes nothing.
func setUser(u *specs.User, value string) error {
	if value == "" {
		return nil
	}
	uid, gid, hasGID := strings.Cut(value, ":")
	n, err := parseID(uid)
	if err != nil {
		return fmt.Errorf("user %q: want UID[:GID] in numbers", value)
	}
	u.UID = n
	if !hasGID {
		return nil
	}
	if n, err = parseID(gid); err != nil {
		return fmt.Errorf("user %q: want UID[:GID] in numbers", value)
	}
	u.GID = n
	return nil
}

// parseID refuses 2³²-1 too, which system calls take for "no change".
func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// subCgroups parses --cgroup values to controller → path; the one path of a
// unified hierarchy has the controller "".
func subCgroups(values []string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	paths := map[string]string{}
	for _, v := range values {
		controllers, path, ok := strings.Cut(v, ":")
		if !ok {
			controllers, path = "", v
		}
		for c := range strings.SplitSeq(controllers, ",") {
			if _, twice := paths[c]; twice || ok && c == "" {
				return nil, fmt.Errorf("cgroup %q: want [CONTROLLER[,CONTROLLER]:]PATH, each controller once", v)
			}
			paths[c] = path
		}
	}
	if _, unified := paths[""]; unified && len(paths) > 1 {
		return nil, fmt.Errorf("cgroup %q: a path without controllers stands alone", values)
	}
	return paths, nil
}
