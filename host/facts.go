// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package host says whether this machine is ready for sandboxes of the calling
// user, and what mends it where it is not.
//
// [Probe] finds out, by trying: it starts a copy of cpc in the namespaces that
// a sandbox's monitor has (package userns), which mounts, makes links and
// filters as a sandbox needs them, and all of that goes with the copy. [Evaluate]
// is pure: it makes checks of what was found. Package setup, below, changes
// what only an administrator can. Callers are commands, in the host's
// namespaces; no lock is held and no descriptor kept.
package host

import (
	"github.com/claude-pocket-console/cpc/cgroups"
)

// Facts are what was found about this host, for this caller.
type Facts struct {
	Kernel string `json:"kernel"` // its release
	User   string `json:"user"`
	UID    int    `json:"uid"`
	// Sysctls are those that concern user namespaces, where they exist.
	Sysctls map[string]string `json:"sysctls"`
	Helpers []Helper          `json:"helpers"`
	// RangeUID and RangeGID are how many subordinate ids the user has in one
	// range, the largest.
	RangeUID int `json:"rangeUID"`
	RangeGID int `json:"rangeGID"`
	// FreeRange is the first id that no range of /etc/subuid and /etc/subgid has.
	FreeRange int `json:"freeRange"`

	Trials Trials `json:"trials"`

	Cgroups cgroups.Host `json:"cgroups"`
	// Missing are the default limits that cannot be enforced.
	Missing []cgroups.Missing `json:"missing,omitempty"`
	// Controllers are all that reach the caller, on cgroup v2.
	Controllers []string `json:"controllers,omitempty"`
	RuntimeDir  bool     `json:"runtimeDir"` // a login session's, or of a lingering user
	Linger      bool     `json:"linger"`

	LSM     LSM     `json:"lsm"`
	Data    Space   `json:"data"`
	State   Space   `json:"state"`
	Runtime Program `json:"runtime"`
	// DiskTool makes a disk of fixed size for an ordinary user.
	DiskTool Program `json:"diskTool"`
}

// Helper is newuidmap or newgidmap.
type Helper struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"` // "": not installed
	// Able: it is setuid root, or has the file capability that it needs.
	Able bool `json:"able"`
}

// Trial is the result of trying something.
type Trial struct {
	Tried bool   `json:"tried"`
	Error string `json:"error,omitempty"` // "": it works
}

// Trials are what was tried in the namespaces of a sandbox's monitor.
type Trials struct {
	UserNS   Trial `json:"userNS"`   // the namespaces themselves, with their mappings
	Proc     Trial `json:"proc"`     // a /proc of the new pid namespace
	Nested   Trial `json:"nested"`   // a user namespace inside of that
	Overlay  Trial `json:"overlay"`  // overlayfs on the data directory
	IDMapped Trial `json:"idMapped"` // root only: idmapped mounts of it
	Fuse     Trial `json:"fuse"`
	Veth     Trial `json:"veth"`
	NFTables Trial `json:"nftables"`
	Seccomp  Trial `json:"seccomp"`
}

// LSM is what other security modules do here.
type LSM struct {
	AppArmor bool `json:"apparmor"` // enabled in the kernel
	// Readable: whether the loaded profiles could be seen.
	Readable bool `json:"readable"`
	// Programs: cpc's own profile is loaded, which allows it user namespaces;
	// Sandbox: the one that confines sandboxes.
	Programs bool `json:"programs"`
	Sandbox  bool `json:"sandbox"`
	// Confined is the profile that cpc itself runs in, where that restricts it.
	Confined string `json:"confined,omitempty"`
	SELinux  string `json:"selinux,omitempty"` // "", permissive or enforcing
}

// Space is a directory that cpc fills.
type Space struct {
	Path   string `json:"path"`
	Free   uint64 `json:"free"` // bytes for this user
	Inodes uint64 `json:"inodes"`
	// NoInodes: the file system does not count inodes.
	NoInodes bool   `json:"noInodes,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Program is one that cpc starts.
type Program struct {
	Path  string `json:"path,omitempty"`
	Says  string `json:"says,omitempty"` // its version, in its own words
	Error string `json:"error,omitempty"`
}
