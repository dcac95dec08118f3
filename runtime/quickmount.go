// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/runtime/enter"
)

// mounts plans the mounts, and returns the steps that make some of them
// read-only when all is in place.
func (b *beginner) mounts() (locks []enter.Step, err error) {
	procs := 0
	for i, m := range b.config.Mounts {
		if err := b.symlinks(i); err != nil {
			return nil, err
		}
		if err := b.checkMount(m); err != nil {
			return nil, err
		}
		if m.Device == "cgroup" && !b.host.unified {
			if err := b.hierarchies(m); err != nil {
				return nil, err
			}
			continue
		}
		s, err := b.step(m)
		if err != nil {
			return nil, err
		}
		if m.Device == "cgroup" {
			if err := b.cgroupMount(m, s); err != nil {
				return nil, err
			}
			continue
		}
		if m.Device == "proc" {
			procs++
		}
		if s.Flags&enter.Keep != 0 {
			locks = append(locks, enter.Step{Kind: enter.Lock, Number: uint32(len(b.plan.Steps))})
		}
		b.add(s)
	}
	if procs != 1 {
		return nil, because(ReasonProcfs)
	}
	return locks, b.symlinks(len(b.config.Mounts))
}

// checkMount refuses where a mount is not for a plan to judge.
func (b *beginner) checkMount(m *configs.Mount) error {
	switch {
	case m.IDMapping != nil:
		return because(ReasonIDMount)
	case m.RecAttr != nil && !m.IsBind(), m.Extensions != 0:
		return because(ReasonMountFlags)
	case !clean(m.Destination), strings.HasPrefix(m.Destination+"/", b.config.Rootfs+"/"):
		return because(ReasonMountPath)
	// What may be mounted there is for libcontainer to judge.
	case m.Device == "proc" != (m.Destination == "/proc"), strings.HasPrefix(m.Destination, "/proc/"):
		return because(ReasonProcfs)
	}
	return nil
}

// cgroupMount plans a mount of cgroup v2. Where that is not allowed, or is there
// already, libcontainer binds the container's cgroup in its place, or the whole
// hierarchy if the container has no cgroup namespace.
func (b *beginner) cgroupMount(m *configs.Mount, s enter.Step) error {
	source := "/sys/fs/cgroup"
	if b.config.Namespaces.Contains(configs.NEWCGROUP) {
		path, err := b.cgroup()
		if err != nil {
			return err
		}
		source = cmp.Or(path, source)
	}
	instead, err := b.step(&configs.Mount{Device: "bind", Source: source, Destination: m.Destination, Flags: unix.MS_BIND | m.Flags, PropagationFlags: m.PropagationFlags})
	if err != nil {
		return err
	}
	if s.Flags |= enter.OrNext; b.config.RootlessCgroups {
		instead.Flags |= enter.OrMask // the cgroup could not be made
	}
	b.add(s)
	b.add(instead)
	return nil
}

// symlinks plans the links that come before a mount.
func (b *beginner) symlinks(mount int) error {
	for _, l := range b.links {
		if l.before != mount {
			continue
		}
		if !clean(l.path) {
			return because(ReasonMountPath)
		}
		b.add(enter.Step{Kind: enter.Link, Text: []string{l.target, l.path}})
	}
	return nil
}

// step is a mount's own.
func (b *beginner) step(m *configs.Mount) (s enter.Step, err error) {
	if m.IsBind() { // by an option, whatever the type says
		s, err = b.bindStep(m)
	} else {
		s, err = b.mountStep(m)
	}
	if m.Device != "cgroup" { // libcontainer has none for it
		for _, p := range m.PropagationFlags {
			s.Text = append(s.Text, strconv.Itoa(p))
		}
	}
	return s, err
}

// hierarchies plans what a cgroup v1 has in place of the mount: a tmpfs with the
// container's cgroup of each hierarchy. Where the container has another view of
// them, or systemd names its cgroup, libcontainer sees to it.
func (b *beginner) hierarchies(m *configs.Mount) error {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	own := b.config.Cgroups
	if own == nil || own.Systemd || b.config.Namespaces.Contains(configs.NEWCGROUP) || m.Data != "" {
		return because(ReasonCgroupMount)
	}
	mounts, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return err
	}
	paths, err := b.cgroupPaths(mounts)
	if err != nil {
		return err
	}
	all := []*configs.Mount{{Source: "tmpfs", Device: "tmpfs", Destination: m.Destination, Flags: flags, Data: "mode=755", PropagationFlags: m.PropagationFlags}}
	for i, h := range mounts {
		name := filepath.Base(h.Mountpoint)
		if strings.Contains(name, ",") { // which has links to it
			return because(ReasonCgroupMount)
		}
		all = append(all, &configs.Mount{
			Source: paths[i], Device: "bind", Destination: filepath.Join(m.Destination, name),
			Flags: unix.MS_BIND | unix.MS_REC | m.Flags, PropagationFlags: m.PropagationFlags,
		})
	}
	for _, m := range all {
		s, err := b.step(m)
		if err != nil {
			return err
		}
		b.add(s)
	}
	return nil
}

// cgroupPaths are those of the container in each hierarchy: where libcontainer
// makes one, or this process's own where it may not.
func (b *beginner) cgroupPaths(mounts []cgroups.Mount) (paths []string, err error) {
	manager, err := fs.NewManager(b.config.Cgroups, nil)
	if err != nil {
		return nil, err
	}
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	made := manager.GetPaths()
	for _, h := range mounts {
		path := cmp.Or(made[h.Subsystems[0]], made[cgroups.CgroupNamePrefix+h.Subsystems[0]])
		if h.Root != "/" || !strings.HasPrefix(path, h.Mountpoint+"/") {
			return nil, because(ReasonCgroupMount)
		}
		if b.config.RootlessCgroups {
			if mayMake(path) {
				return nil, because(ReasonCgroupMount)
			}
			dir, err := h.GetOwnCgroup(own)
			if err != nil {
				return nil, err
			}
			path = filepath.Join(h.Mountpoint, dir)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// mayMake says whether a directory could be made or used.
func mayMake(path string) bool {
	for ; path != "/"; path = filepath.Dir(path) {
		if err := unix.Access(path, unix.W_OK); !errors.Is(err, os.ErrNotExist) {
			return err == nil
		}
	}
	return false
}

// mountStep is for a new file system.
func (b *beginner) mountStep(m *configs.Mount) (s enter.Step, err error) {
	s, kind := enter.Step{Kind: enter.Mount}, m.Device
	switch m.Device {
	case "proc":
		s.Flags = enter.Proc
	case "tmpfs":
		s.Flags = enter.CopyMode
	case "sysfs", "devpts", "mqueue":
	case "cgroup":
		kind = "cgroup2"
	default:
		return s, because(ReasonFileSystem)
	}
	flags := m.Flags
	if flags&unix.MS_RDONLY != 0 {
		// There are files to be made in some, so these wait.
		if m.Device == "tmpfs" || m.Destination == "/dev" {
			s.Flags |= enter.Keep
			flags &^= unix.MS_RDONLY
		} else {
			s.Flags |= enter.ReadOnlyFS
		}
	}
	if s.Set, err = mountAttr(flags); err != nil {
		return s, err
	}
	s.Text = []string{kind, m.Source, m.Destination}
	if m.Data == "" {
		return s, nil
	}
	options := strings.Split(m.Data, ",")
	for _, o := range options {
		if key, value, set := strings.Cut(o, "="); key == "" || set && value == "" {
			return s, because(ReasonMountFlags)
		}
	}
	s.Number, s.Text = uint32(len(options)), append(s.Text, options...)
	return s, nil
}

// bindStep also says, in Number, which flags the caller wants cleared: they must
// not be kept because a mount above forbids to.
func (b *beginner) bindStep(m *configs.Mount) (s enter.Step, err error) {
	const (
		flags = unix.MS_BIND | unix.MS_REC
		known = flags | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	)
	request := []byte{}
	if !b.config.RootlessEUID { // else libcontainer has no more rights than init
		if request, err = json.Marshal(m); err != nil {
			return s, err
		}
	}
	s = enter.Step{Kind: enter.Bind, Text: []string{m.Source, m.Destination, string(request)}}
	if !strings.HasPrefix(m.Source, "/") || m.Destination == "/dev" {
		return s, because(ReasonMountPath)
	}
	if m.Device != "bind" || m.Data != "" || m.Flags&^(known|unix.MS_RELATIME) != 0 || m.ClearedFlags&^known != 0 {
		return s, because(ReasonMountFlags)
	}
	if rec := m.RecAttr; rec != nil {
		if rec.Propagation != 0 || rec.Userns_fd != 0 || rec.Attr_set>>32 != 0 || rec.Attr_clr>>32 != 0 {
			return s, because(ReasonMountFlags)
		}
		s.Major, s.Minor = uint32(rec.Attr_set), uint32(rec.Attr_clr)
	}
	if m.Flags&unix.MS_REC != 0 {
		s.Flags = enter.Recursive
	}
	if m.Flags&^flags == 0 && m.ClearedFlags == 0 {
		return s, nil
	}
	s.Clear = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW
	if m.Flags&unix.MS_RELATIME != 0 {
		s.Clear |= unix.MOUNT_ATTR__ATIME // of which it is one, and 0
	}
	if s.Set, err = mountAttr(m.Flags &^ flags); err != nil {
		return s, err
	}
	cleared, err := mountAttr(m.ClearedFlags)
	s.Number = uint32(cleared)
	return s, err
}

// mountAttr translates flags of mount(2) to those of mount_setattr(2).
func mountAttr(flags int) (attr uint64, err error) {
	times := 0
	for _, f := range []struct {
		flag int
		attr uint64
		time int
	}{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY, 0},
		{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID, 0},
		{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV, 0},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC, 0},
		{unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, 0},
		{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
		{unix.MS_RELATIME, unix.MOUNT_ATTR_RELATIME, 1},
		{unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME, 1},
		{unix.MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME, 1},
	} {
		if flags&f.flag != 0 {
			attr |= f.attr
			times += f.time
			flags &^= f.flag
		}
	}
	if flags != 0 || times > 1 {
		return 0, because(ReasonMountFlags)
	}
	return attr, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
