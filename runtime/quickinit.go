// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/capability"
	"github.com/claude-pocket-console/cpc/runtime/enter"
)

// envLongWay makes every container and process the long way, for tests.
const envLongWay = "CPC_RUNTIME_LONG_WAY"

// planner makes the plan of a container's first process.
type planner func(*libcontainer.Process) (*enter.Plan, error)

// planner is this container's.
func (m *making) planner(p *libcontainer.Process) (*enter.Plan, error) {
	b := beginner{
		id: m.id, config: m.config, links: m.links, process: p, cgroup: m.unifiedCgroup,
		host: thisHost(cgroups.IsCgroup2UnifiedMode(), userns.RunningInUserNS()),
	}
	plan, err := b.make()
	if err != nil {
		return nil, err
	}
	switch err := quickly(); { // last: what else there is against it says more
	case err != nil:
		return nil, err
	case m.notifier != nil:
		return nil, because(ReasonNotify)
	case unix.MountSetattr(-1, "", 0, &unix.MountAttr{}) == unix.ENOSYS: // before Linux 5.12
		return nil, because(ReasonKernel)
	}
	plan.Tell = !m.runtime.AsRunc
	dropAmbient(&plan.Caps)
	if m.config.Seccomp == nil {
		return plan, nil
	}
	profile, err := json.Marshal(m.config.Seccomp)
	if err != nil {
		return nil, err
	}
	plan.Filter, err = m.runtime.filter(profile)
	return plan, err
}

// unifiedCgroup is the directory of the container's cgroup v2.
func (m *making) unifiedCgroup() (string, error) {
	state, err := m.container.State()
	if err != nil {
		return "", err
	}
	return state.CgroupPaths[""], nil
}

// beginner plans the first process of a container.
type beginner struct {
	id      string
	config  *configs.Config
	links   []symlink
	process *libcontainer.Process
	host    host
	cgroup  func() (string, error) // directory of the container's cgroup v2
	plan    enter.Plan
}

// host is what a plan depends on outside of the configuration.
type host struct {
	unified   bool // cgroup v2 alone
	kcore     bool // procfs has it
	inUserns  bool
	setgroups bool // not forbidden
	resource  bool // the caller may set limits of whom it does not own
	uid, gid  int
}

// make says what libcontainer's init would do for a container and its first
// process. It knows only what most containers have; the rest goes the long way.
func (b *beginner) make() (*enter.Plan, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := b.rights(); err != nil {
		return nil, err
	}
	if err := b.namespaces(); err != nil {
		return nil, err
	}
	if err := b.ids(); err != nil {
		return nil, err
	}
	if err := b.rootfs(); err != nil {
		return nil, err
	}
	return &b.plan, nil
}

// check refuses what no step exists for.
func (b *beginner) check() error {
	c, p := b.config, b.process
	for _, refused := range []struct {
		reason Reason
		is     bool
	}{
		{ReasonHooks, c.HasHook(configs.CreateContainer, configs.StartContainer)},
		{ReasonNoPivot, c.NoPivotRoot},
		{ReasonLabel, c.MountLabel != "" || c.ProcessLabel != "" || p.Label != ""},
		{ReasonPidfd, p.PidfdSocket != nil},
		{ReasonDescriptors, len(p.ExtraFiles) > 0},
		{ReasonSubCgroup, len(p.SubCgroupPaths) > 0},
		{ReasonGroups, c.RootlessEUID && len(p.AdditionalGroups) > 0},
		{ReasonNamespace, len(c.TimeOffsets) > 0},
		{ReasonField, c.ParentDeathSignal != 0 || len(c.NetDevices) > 0 || len(c.Routes) > 0 || c.IntelRdt != nil || c.MemoryPolicy != nil ||
			c.Scheduler != nil || c.Personality != nil || c.IOPriority != nil || p.Scheduler != nil || p.IOPriority != nil || p.NoNewPrivileges == nil},
	} {
		if refused.is {
			return because(refused.reason)
		}
	}
	for _, n := range c.Networks {
		if n.Type != "loopback" {
			return because(ReasonField)
		}
	}
	return nil
}

// rights are those of the process, as libcontainer's newInitConfig merges them.
func (b *beginner) rights() (err error) {
	c, p := b.config, b.process
	if slices.Contains(strings.Split(p.Cwd, "/"), "..") {
		return because(ReasonDirectory) // libcontainer makes what is missing before a ".." too
	}
	umask := uint32(0o022)
	if c.Umask != nil {
		umask = *c.Umask
	}
	b.plan = enter.Plan{
		Args: p.Args, Cwd: filepath.Clean(p.Cwd), UID: uint32(p.UID), GID: uint32(p.GID), NoNewPrivs: *p.NoNewPrivileges, Umask: &umask,
		SetGroups: b.host.setgroups && !c.RootlessEUID && !keepsGroups(c.Labels),
		Profile:   cmp.Or(p.AppArmorProfile, c.AppArmorProfile),
	}
	for _, g := range p.AdditionalGroups {
		b.plan.Groups = append(b.plan.Groups, uint32(g))
	}
	caps := c.Capabilities
	if p.Capabilities != nil {
		caps = p.Capabilities
	}
	if b.plan.Caps, err = capabilitySets(caps); err != nil {
		return err
	}
	if b.plan.Env, b.plan.FindHome, err = environment(p.Env); err != nil {
		return err
	}
	if !c.NoNewKeyring {
		b.plan.Keyring, b.plan.ShareKeyring = "_ses."+b.id, c.Namespaces.Contains(configs.NEWUSER)
	}
	if c.OomScoreAdj != nil {
		b.plan.OOMScore = strconv.Itoa(*c.OomScoreAdj)
	}
	return nil
}

func (b *beginner) namespaces() error {
	ns := b.config.Namespaces
	for _, n := range ns {
		flag := n.Syscall()
		switch {
		case flag == 0 || n.Type == configs.NEWTIME:
			return because(ReasonNamespace)
		case n.Path == "":
			b.plan.Namespaces |= flag
		case n.Type == configs.NEWUSER || n.Type == configs.NEWNS, n.Type == configs.NEWPID && ns.Contains(configs.NEWUSER):
			return because(ReasonNamespace)
		default:
			b.add(enter.Step{Kind: enter.Join, Number: uint32(flag), Text: []string{n.Path}})
		}
	}
	if b.plan.Namespaces&unix.CLONE_NEWNS == 0 {
		return because(ReasonNamespace)
	}
	return nil
}

// ids are the mappings of the user namespace. Those for which an ordinary user
// needs newuidmap(1) go the long way.
func (b *beginner) ids() error {
	c := b.config
	if !c.Namespaces.Contains(configs.NEWUSER) {
		return nil
	}
	own := func(maps []configs.IDMap, id int) bool {
		return slices.Equal(maps, []configs.IDMap{{ContainerID: 0, HostID: int64(id), Size: 1}})
	}
	mapsMore := !own(c.GIDMappings, b.host.gid)
	if c.RootlessEUID && (mapsMore || !own(c.UIDMappings, b.host.uid)) {
		return because(ReasonIDMappings)
	}
	b.plan.UIDMap, b.plan.GIDMap = idMap(c.UIDMappings), idMap(c.GIDMappings)
	if slices.Contains(c.Labels, ownerAnnotation+"=root") && b.host.resource && !b.host.inUserns {
		b.plan.Owner = ownerOf(c.UIDMappings)
	}
	b.plan.DenyGroups, b.plan.DropGroups = c.RootlessEUID, !c.RootlessEUID && mapsMore && !keepsGroups(c.Labels)
	return nil
}

// ownerAnnotation has the user namespace be its own root's, as "root" says, and
// not the calling root's. The kernel counts what a container has of inotify
// instances, queued signals and the like for the owner of its user namespace too,
// so that the id's quotas are used up and not root's. It is for ids that nobody
// else has: their processes outside could do anything to the container.
// Without the quick way, or without CAP_SYS_RESOURCE, which it takes to set limits
// of somebody else's, the owner is root.
const ownerAnnotation = "io.cpc.userns.owner"

// ownerOf is the caller's id for root; 0 if there is none.
func ownerOf(maps []configs.IDMap) uint32 {
	for _, m := range maps {
		if m.ContainerID == 0 {
			return uint32(m.HostID)
		}
	}
	return 0
}

func idMap(maps []configs.IDMap) string {
	var s strings.Builder
	for _, m := range maps {
		_, _ = fmt.Fprintf(&s, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return s.String()
}

func (b *beginner) add(s enter.Step) { b.plan.Steps = append(b.plan.Steps, s) }

// rootfs plans the steps in libcontainer's order.
func (b *beginner) rootfs() error {
	c := b.config
	if len(c.Networks) > 0 {
		b.add(enter.Step{Kind: enter.Loopback})
	}
	propagation := c.RootPropagation
	parent := uint32(unix.MS_PRIVATE)
	if propagation&unix.MS_SLAVE != 0 {
		parent = unix.MS_SLAVE
	}
	all := propagation
	if all == 0 {
		all = unix.MS_SLAVE | unix.MS_REC
	}
	b.add(enter.Step{Kind: enter.Propagate, Number: uint32(all), Text: []string{"/"}})
	b.add(enter.Step{Kind: enter.Parent, Number: parent, Text: []string{c.Rootfs}})
	b.add(enter.Step{Kind: enter.Root, Text: []string{c.Rootfs}})
	locks, err := b.mounts()
	if err != nil {
		return err
	}
	if err := b.devices(); err != nil {
		return err
	}
	hooks := len(c.Hooks[configs.Prestart]) + len(c.Hooks[configs.CreateRuntime]) // which are the parent's to run
	b.add(enter.Step{Kind: enter.Hooks, Number: uint32(hooks)})
	b.add(enter.Step{Kind: enter.Pivot})
	if propagation != 0 && propagation&(unix.MS_PRIVATE|unix.MS_SLAVE) == 0 {
		b.add(enter.Step{Kind: enter.Propagate, Number: uint32(propagation), Text: []string{"/"}})
	}
	b.add(enter.Step{Kind: enter.NullStdio})
	b.add(enter.Step{Kind: enter.Directory, Text: []string{b.plan.Cwd}})
	if p := b.process; p.ConsoleSocket != nil {
		b.add(enter.Step{Kind: enter.Console, Major: uint32(p.ConsoleHeight), Minor: uint32(p.ConsoleWidth)})
	}
	b.plan.Steps = append(b.plan.Steps, locks...)
	if c.Readonlyfs {
		b.add(enter.Step{Kind: enter.LockRoot})
	}
	return b.finish()
}

// finish plans what comes when the root file system is complete.
func (b *beginner) finish() error {
	c := b.config
	if c.Hostname != "" {
		b.add(enter.Step{Kind: enter.Hostname, Text: []string{c.Hostname}})
	}
	if c.Domainname != "" {
		b.add(enter.Step{Kind: enter.Domainname, Text: []string{c.Domainname}})
	}
	for _, key := range sortedKeys(c.Sysctl) {
		path := filepath.Join("/", strings.ReplaceAll(key, ".", "/"))
		b.add(enter.Step{Kind: enter.Sysctl, Text: []string{"sys" + path, c.Sysctl[key]}})
	}
	for _, list := range []struct {
		kind  enter.Kind
		paths []string
	}{{enter.ReadOnly, c.ReadonlyPaths}, {enter.Mask, c.MaskPaths}} {
		seen := map[string]bool{}
		for _, path := range list.paths {
			if !clean(path) {
				return because(ReasonMasked)
			}
			if list.kind == enter.Mask && seen[path] {
				continue
			}
			seen[path] = true
			b.add(enter.Step{Kind: list.kind, Text: []string{path}})
		}
	}
	return nil
}

// devices plans /dev, which libcontainer fills unless it is a bind mount.
func (b *beginner) devices() error {
	flags := uint32(0)
	if b.host.inUserns || b.config.Namespaces.Contains(configs.NEWUSER) {
		flags = enter.BindsDevice
	}
	for _, d := range b.config.Devices {
		if d.Path == "" {
			continue // it is there for the cgroup alone
		}
		if !clean(d.Path) {
			return because(ReasonDevice)
		}
		if d.Path == "/dev/ptmx" {
			continue
		}
		mode := uint32(d.FileMode)
		switch d.Type {
		case 'c':
			mode |= unix.S_IFCHR
		case 'b':
			mode |= unix.S_IFBLK
		default:
			return because(ReasonDevice)
		}
		if d.Major < 0 || d.Minor < 0 {
			return because(ReasonDevice)
		}
		b.add(enter.Step{
			Kind: enter.Device, Flags: flags, Number: mode, Major: uint32(d.Major), Minor: uint32(d.Minor),
			UID: d.Uid, GID: d.Gid, Text: []string{d.Path},
		})
	}
	b.add(enter.Step{Kind: enter.Link, Flags: enter.Replace, Text: []string{"pts/ptmx", "/dev/ptmx"}})
	links := [][]string{{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}}
	if b.host.kcore {
		links = append(links, []string{"/proc/kcore", "/dev/core"})
	}
	for _, l := range links {
		b.add(enter.Step{Kind: enter.Link, Text: l})
	}
	return nil
}

// clean says whether a path needs no interpretation.
func clean(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/"
}

func thisHost(unified, inUserns bool) host {
	h := host{unified: unified, inUserns: inUserns, uid: os.Geteuid(), gid: os.Getegid()}
	_, err := os.Stat("/proc/kcore")
	h.kcore = err == nil
	allowed, err := os.ReadFile("/proc/self/setgroups")
	h.resource = h.uid == 0 && capability.Effective(unix.CAP_SYS_RESOURCE)
	h.setgroups = errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(allowed)) != "deny"
	return h
}

// keepsGroups says whether the process is to have the supplementary groups of the
// caller, also those that its user namespace does not map: an annotation of crun's
// (podman's --group-add keep-groups). The long way cannot, and sets the process's own.
func keepsGroups(labels []string) bool {
	return slices.Contains(labels, "run.oci.keep_original_groups=1")
}

// quickly returns why nothing may go the quick way.
func quickly() error {
	switch {
	case os.Getenv(envLongWay) != "":
		return because(ReasonAsked)
	case logrus.IsLevelEnabled(logrus.DebugLevel):
		return because(ReasonDebug)
	}
	return nil
}
