// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// mounts returns the kernel's filesystems in fixed order, then what was asked
// for, parents before what is mounted below them.
func (in *Input) mounts() ([]specs.Mount, error) {
	asked, err := in.tmpfsMounts()
	if err != nil {
		return nil, err
	}
	files, err := in.fileMounts()
	if err != nil {
		return nil, err
	}
	binds, err := in.bindMounts()
	if err != nil {
		return nil, err
	}
	asked = slices.Concat(asked, files, binds)
	slices.SortStableFunc(asked, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return append(in.kernelMounts(), asked...), nil
}

func (in *Input) kernelMounts() []specs.Mount {
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "max=" + strconv.Itoa(maxTerminal)}
	if in.Mapping.Mode != idmap.Single {
		pts = append(pts, "gid=5") // tty; without a mapping for it devpts does not mount
	}
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		in.sysfs(),
	}
	if in.Cgroup.Layout == cgroups.Unified {
		out = append(out, specs.Mount{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"},
		})
	}
	if !hasTmpfs(in.Tmpfs, "/dev/shm") {
		size := in.ShmSize
		if size == 0 {
			size = defaultShm
		}
		out = append(out, specs.Mount{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)},
		})
	}
	return out
}

// sysfs shows the network devices of the network namespace, and the kernel lets
// only that one's owner mount it: with the host's network it must be a bind. A
// recursive one, as its submounts are locked; recursively read-only, because
// in Single mode the sandbox's root could write the user's own cgroups.
func (in *Input) sysfs() specs.Mount {
	if in.Network == NetworkHost {
		return specs.Mount{
			Destination: "/sys", Type: "bind", Source: "/sys",
			Options: []string{"rbind", "rro", "nosuid", "noexec", "nodev", "rprivate"},
		}
	}
	return specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "noexec", "nodev"}}
}

func (in *Input) fileMounts() ([]specs.Mount, error) {
	var out []specs.Mount
	for _, f := range []struct{ source, destination string }{
		{in.Files.Hostname, "/etc/hostname"},
		{in.Files.Hosts, "/etc/hosts"},
		{in.Files.ResolvConf, "/etc/resolv.conf"},
	} {
		if f.source == "" {
			continue
		}
		if !filepath.IsAbs(f.source) {
			return nil, fmt.Errorf("file %s for %s: not an absolute path", f.source, f.destination)
		}
		options := []string{"bind", "rprivate", "nosuid", "noexec", "nodev"}
		if in.ReadOnly {
			options = append(options, "ro")
		}
		out = append(out, specs.Mount{Destination: f.destination, Type: "bind", Source: f.source, Options: options})
	}
	if in.Files.HostCA != "" {
		if !filepath.IsAbs(in.Files.HostCA) {
			return nil, fmt.Errorf("CA bundle %s: not an absolute path", in.Files.HostCA)
		}
		out = append(out, specs.Mount{
			Destination: HostCAPath, Type: "bind", Source: in.Files.HostCA,
			Options: []string{"bind", "rprivate", "nosuid", "noexec", "nodev", "ro"},
		})
	}
	if in.Options.Init {
		if !filepath.IsAbs(in.Init.Path) {
			return nil, fmt.Errorf("init %q: not an absolute path", in.Init.Path)
		}
		out = append(out, specs.Mount{
			Destination: InitPath, Type: "bind", Source: in.Init.Path,
			Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev"},
		})
	}
	return out, nil
}

func (in *Input) bindMounts() ([]specs.Mount, error) {
	var out []specs.Mount
	_, home := in.homeMounts()
	for _, b := range slices.Concat(in.Binds, home) {
		if err := checkDestination(b.Target); err != nil {
			return nil, fmt.Errorf("mount %s: %w", b.Target, err)
		}
		if !filepath.IsAbs(b.Source) {
			return nil, fmt.Errorf("mount %s: source %s: not an absolute path", b.Target, b.Source)
		}
		options := []string{"bind", "rprivate", "nosuid", "nodev"}
		if b.NoExec {
			options = append(options, "noexec")
		}
		if b.ReadOnly {
			options = append(options, "ro")
		}
		out = append(out, specs.Mount{Destination: b.Target, Type: "bind", Source: b.Source, Options: options})
	}
	return out, nil
}

func (in *Input) tmpfsMounts() ([]specs.Mount, error) {
	home, _ := in.homeMounts()
	list := slices.Concat(in.Tmpfs, home)
	out := make([]specs.Mount, 0, len(list))
	for i, t := range list {
		if err := checkDestination(t.Path); err != nil {
			return nil, fmt.Errorf("tmpfs %s: %w", t.Path, err)
		}
		if hasTmpfs(list[:i], t.Path) {
			return nil, fmt.Errorf("tmpfs %s: given twice", t.Path)
		}
		options, err := in.tmpfsOptions(t)
		if err != nil {
			return nil, fmt.Errorf("tmpfs %s: %w", t.Path, err)
		}
		out = append(out, specs.Mount{Destination: t.Path, Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	return out, nil
}

// tmpfsOptions spells t out. Without a mode a tmpfs is open to all as /tmp is,
// but the user's home is the user's: docker leaves that one to root, where the
// image had made it so, and a shell cannot even write its history.
func (in *Input) tmpfsOptions(t Tmpfs) ([]string, error) {
	options := []string{"nosuid", "noexec", "nodev"}
	if t.Suid {
		options[0] = "suid"
	}
	if t.Exec {
		options[1] = "exec"
	}
	if t.ReadOnly {
		options = append(options, "ro")
	} else {
		options = append(options, "rw")
	}
	uid, gid, mode := uint32(0), uint32(0), uint32(0o1777)
	if t.Path == path.Clean(in.home()) && t.Mode == nil && t.UID == nil && t.GID == nil {
		uid, gid, mode = in.User.UID, in.User.GID, 0o700
	}
	if t.Mode != nil {
		mode = *t.Mode
	}
	if t.UID != nil {
		uid = *t.UID
	}
	if t.GID != nil {
		gid = *t.GID
	}
	if in.Mapping.Mode == idmap.Single {
		uid, gid = 0, 0
	}
	if uid >= in.Mapping.Size || gid >= in.Mapping.Size {
		return nil, fmt.Errorf("owner %d:%d: the sandbox has the ids 0 to %d", uid, gid, in.Mapping.Size-1)
	}
	options = append(options, fmt.Sprintf("mode=%04o", mode), fmt.Sprintf("uid=%d", uid), fmt.Sprintf("gid=%d", gid))
	if t.Size > 0 {
		options = append(options, fmt.Sprintf("size=%d", t.Size))
	}
	if t.Inodes > 0 {
		options = append(options, fmt.Sprintf("nr_inodes=%d", t.Inodes))
	}
	return options, nil
}

// checkDestination refuses paths whose covering would undo a restriction or the
// runtime's own mounts.
func checkDestination(p string) error {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0):
		return errors.New("not an absolute, clean path")
	case p == "/":
		return errors.New("the root itself cannot be covered")
	case p == "/dev" || within(p, "/dev/pts") || within(p, "/dev/mqueue"):
		return errors.New("/dev is made by the runtime")
	case within(p, "/proc") || within(p, "/sys"):
		return errors.New("/proc and /sys are the kernel's")
	case p == InitPath || p == HostCAPath || p == "/etc/hosts" || p == "/etc/hostname" || p == "/etc/resolv.conf":
		return errors.New("cpc puts a file there")
	}
	return nil
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
