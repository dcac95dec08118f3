// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"cmp"
	"slices"
	"strconv"
)

// Space is how much can be written, in bytes, in places that are writable without
// being asked for. The zero value is nothing.
type Space struct {
	Home   int64 // the user's home
	System int64 // what SystemPaths returns, together
}

// HomeKind is what a home is made of.
type HomeKind string

const (
	// HomeMemory is an empty tmpfs.
	HomeMemory HomeKind = "tmpfs"
	// HomeOverlay is the image's home with what is written above it.
	HomeOverlay HomeKind = "overlay"
	// HomeCopy is a copy of the image's home.
	HomeCopy HomeKind = "copy"
	// HomeRoot is a directory of the writable root file system.
	HomeRoot HomeKind = "root"
)

// Home is the writable home of the sandbox's user. The zero value is none: the
// caller has put something else there, or there is no place for it.
type Home struct {
	Path   string // in the sandbox, without symbolic links
	Kind   HomeKind
	Source string // what is bound there, for overlay and copy
	Size   int64  // bytes; 0: that of what it is on
}

const (
	// Run is where programs leave what is of this boot.
	Run = "/run"
	tmp = "/tmp"
)

// systemTrees are the directories in which nobody has a home; homeParents only have
// homes in them. Accounts of services name them all the same (daemon:/usr/sbin).
func systemTrees() []string {
	return []string{
		"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nonexistent", "/proc", "/sbin", "/sys",
		"/usr/bin", "/usr/games", "/usr/include", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/sbin",
	}
}

func homeParents() []string {
	return []string{
		"", "/", "/home", "/media", "/mnt", "/opt", Run, "/srv", "/usr", "/usr/local", "/usr/share", "/usr/src",
		"/var", "/var/cache", "/var/lib", "/var/log", "/var/mail", "/var/run", "/var/spool",
	}
}

// IsHome reports whether a path of an image's passwd file can be somebody's home.
func IsHome(p string) bool {
	return checkDestination(p) == nil && !slices.Contains(homeParents(), p) &&
		!slices.ContainsFunc(systemTrees(), func(tree string) bool { return within(p, tree) })
}

// covered reports whether the caller, the image's volumes or cpc itself put
// something writable on p.
func (o *Options) covered(p string) bool {
	return hasTmpfs(o.Tmpfs, p) || slices.ContainsFunc(o.Binds, func(b Bind) bool { return within(p, b.Target) })
}

// NeedsHome reports whether a home is to be made at p. The disk's directories are
// among the options' Binds here.
func (o *Options) NeedsHome(p string) bool {
	return o.Space.Home > 0 && p != tmp && p != VarTmp && !o.covered(p)
}

// SystemPaths returns the directories that programs take to be writable in every
// system, and that are none of the caller's: small ones in memory below a
// read-only root, as podman has them.
func (o *Options) SystemPaths() []string {
	if o.Space.System == 0 || !o.ReadOnly {
		return nil
	}
	return slices.DeleteFunc([]string{Run, VarTmp}, o.covered)
}

// RuntimeDir is a user's own directory below /run, as seen from there.
func RuntimeDir(uid uint32) string { return "user/" + strconv.FormatUint(uint64(uid), 10) }

// home is what HOME says: the user's home in the image, or the default one, where it
// is there, for a user who has none.
func (in *Input) home() string {
	home := cmp.Or(in.User.Home, "/")
	writable := IsHome(home) || hasTmpfs(in.Tmpfs, home)
	if !writable && (in.Home.Path == DefaultHome || in.asUser() && hasTmpfs(in.Tmpfs, DefaultHome)) {
		return DefaultHome
	}
	return home
}

// homeMounts returns the home as one of the mounts that can be asked for.
func (in *Input) homeMounts() (tmpfs []Tmpfs, binds []Bind) {
	h := in.Home
	switch h.Kind {
	case HomeMemory:
		return []Tmpfs{HomeTmpfs(h, in.User)}, nil
	case HomeOverlay, HomeCopy:
		return nil, []Bind{{Source: h.Source, Target: h.Path}}
	case HomeRoot:
	}
	return nil, nil
}

// HomeTmpfs returns a home of the kind HomeMemory as a tmpfs.
func HomeTmpfs(h Home, user ResolvedUser) Tmpfs {
	return Tmpfs{Path: h.Path, Size: h.Size, Exec: true, Mode: new(uint32(0o700)), UID: &user.UID, GID: &user.GID}
}
