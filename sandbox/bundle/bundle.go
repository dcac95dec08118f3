// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle turns what a caller asked for and what an image says into the
// OCI runtime configuration of one sandbox.
//
// [Plan] is pure: same input, same config.json. What it needs of the host is in
// the [Input]; [ResolveUser] and [ProbeHost] are the only functions that read
// files. The monitor runs it, `cpc run --dry-run` prints what it returns, and
// the image, its passwd file included, is taken to be hostile: it chooses
// command, environment, user, working directory and volumes, and nothing else.
//
// Invariants: a sandbox always has a user namespace of its own, and the id
// mapping of [Input.Mapping]; no input but [Options] can add a capability,
// loosen the system call filter, or add a mount.
package bundle

import (
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Values of Options.Network.
const (
	// NetworkNone is a network namespace with nothing but loopback.
	NetworkNone = "none"
	// NetworkAllowlist is a network namespace that the caller connects to a
	// gateway, which lets out what a policy names.
	NetworkAllowlist = "allowlist"
	// NetworkHost is no network namespace at all.
	NetworkHost = "host"
)

// SeccompUnconfined is the value of Options.Seccomp for no filter.
const SeccompUnconfined = dockerflag.SeccompUnconfined

const (
	// DefaultUser is who runs where neither caller nor image names a user.
	DefaultUser = "1000:1000"
	// DefaultHome is the home of a user who has none in the image.
	DefaultHome = "/home/sandbox"
	// HostCAPath is where the host's CA bundle is seen, if asked for. It is
	// none of the image's own, so that programs which renew those can.
	HostCAPath = "/run/cpc/host-ca.crt"
	// InitPath is where --init puts the small init, the path docker uses.
	InitPath = "/sbin/docker-init"

	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultShm  = 64 << 20
)

// Tmpfs is one --tmpfs.
type Tmpfs = dockerflag.Tmpfs

// Bind is a directory or file of the caller's that the sandbox sees. Source must
// be beyond the reach of anything hostile: it is followed by name.
type Bind struct {
	Source, Target string
	ReadOnly       bool
	NoExec         bool
}

// Options is what a caller can ask of a sandbox. The zero value is the
// strictest one, not the default one: see [Defaults].
type Options struct {
	Args       []string // command; empty: the image's
	Entrypoint *string  // nil: the image's, and "" is none
	Env        []string // NAME=VALUE; NAME alone takes NAME out
	User       string   // name|uid[:group|gid]; "": the image's
	Workdir    string   // "": the image's
	GroupAdd   []string // further groups, names or ids
	Hostname   string   // "": the first twelve characters of the id
	Domainname string   // NIS's
	Expose     []string // PORT/PROTOCOL, for people to see
	NoLog      bool     // output is not kept
	TTY        bool
	Terminal   Terminal // the caller's; see KnownTerminal
	ReadOnly   bool     // root filesystem
	Tmpfs      []Tmpfs  // no two on one path
	Space      Space    // what is writable below a read-only root without being asked for
	Disk       int64    // bytes: what a writable root and volumes are on
	DiskAsked  bool     // then /var/tmp is on it too; see DiskPaths
	Binds      []Bind

	CapBase         []string // what a sandbox has without CapAdd and CapDrop
	CapAdd, CapDrop []string
	CapRoot         []string // like CapBase, for root in a root file system that can be written
	NoNewPrivileges bool
	Seccomp         string   // "": the default; "unconfined"; or a path (the caller loads it)
	AppArmor        string   // "": the default, if it is loaded; "unconfined"; or a profile
	SELinux         []string // options of --security-opt label=
	Ulimits         []specs.POSIXRlimit
	OOMScoreAdj     *int  // nil: cpc's own, if that is not below 0
	ShmSize         int64 // bytes; 0: 64 MiB
	Init            bool
	Network         string // none, allowlist or host
	PortStart       *int   // the first port that any user can listen on; nil: the kernel's 1024
	Limits          cgroups.Limits
	StopSignal      string // "": the image's, else SIGTERM
	Annotations     map[string]string
}

// Defaults returns the options of a `cpc run` without flags.
func Defaults() Options {
	return Options{
		ReadOnly: true,
		Tmpfs: []Tmpfs{
			{Path: "/tmp", Size: 1 << 30},
		},
		Space:           Space{Home: 1 << 30, System: 64 << 20},
		CapBase:         []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"},
		NoNewPrivileges: true,
		ShmSize:         defaultShm,
		Disk:            DefaultDisk,
		Network:         NetworkAllowlist,
		Limits:          cgroups.Limits{Memory: 2 << 30, MilliCPU: 1000, Pids: 100},
	}
}

// BuildStep returns the options of a Dockerfile's RUN step, the steps' args and
// environment apart. Package managers are what runs there: so root may be
// root, with docker's capabilities and a writable root. What is built is
// trusted no more than a sandbox, hence user namespace and filter stay.
func BuildStep() Options {
	return Options{
		CapBase: dockerflag.DockerCaps(),
		ShmSize: defaultShm,
		Network: NetworkAllowlist,
		// Compilers run many processes; a fork bomb is ended all the same.
		Limits: cgroups.Limits{Pids: stepPids},
	}
}

// stepPids is how many processes and threads a step may have.
const stepPids = 8192

// MergeTmpfs returns given with those of defaults whose path it does not have.
func MergeTmpfs(defaults, given []Tmpfs) []Tmpfs {
	var out []Tmpfs
	for _, d := range defaults {
		if !hasTmpfs(given, d.Path) {
			out = append(out, d)
		}
	}
	return append(out, given...)
}

func hasTmpfs(list []Tmpfs, path string) bool {
	for _, t := range list {
		if t.Path == path {
			return true
		}
	}
	return false
}

// Capabilities returns the capabilities that o amounts to, in kernel order: the
// bounding set of the sandbox.
func (o Options) Capabilities() ([]string, error) {
	return dockerflag.CapSet(o.CapBase, o.CapAdd, o.CapDrop)
}

// UserSpec returns the user to look up with [ResolveUser]. Unlike docker, an
// image that names no user is not run as root unless the caller says so.
func (o Options) UserSpec(image v1.ImageConfig) string {
	switch {
	case o.User != "":
		return o.User
	case image.User != "":
		return image.User
	}
	return DefaultUser
}

// Input is everything that [Plan] looks at.
type Input struct {
	Options
	ID      string // of the sandbox
	Image   v1.ImageConfig
	User    ResolvedUser
	Mapping idmap.Mapping
	Cgroup  cgroups.Plan
	Rootfs  string // mounted root, absolute
	Seccomp *specs.LinuxSeccomp
	Confine Confine
	Disk    *Disk // nil without one
	Home    Home
	Files   Files
	Init    Init
	Host    Host
}

// Confine is what Options.AppArmor and SELinux came to on this host.
type Confine struct {
	AppArmor   string // profile, or "" for none
	Label      string // SELinux label of the processes, or ""
	MountLabel string // and of what is mounted
}

// Files are files of the host that are bound into the sandbox's /etc; "" leaves
// the image's. Someone of the sandbox must be able to read them, so they are
// of mode 0644 or owned by Mapping.ToCaller of the reader.
type Files struct {
	Hostname, Hosts, ResolvConf string
	// HostCA is a CA bundle that goes to [HostCAPath], and that programs are
	// told of by their environment.
	HostCA string
}

// Init is the small init of --init, bound to [InitPath] and started as
//
//	/sbin/docker-init ARGS… -- COMMAND…
//
// It must be a static binary that reaps children and passes on signals.
type Init struct {
	Path string   // on the host, absolute
	Args []string // as "reaper"
}
