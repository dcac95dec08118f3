// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package inspect is the form in which sandboxes and images are shown with everything
// about them: docker's fields where docker has one, so that scripts written for it find
// what they look for, and cpc's own beside them. It reads and changes nothing but what it
// is given, a sandbox's events apart.
package inspect

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// Sandbox is a sandbox as cpc inspect shows it: docker's fields where docker
// has one, so that scripts written for it find what they look for.
type Sandbox struct {
	ID         string   `json:"Id"`
	Name       string   `json:"Name"`
	Created    string   `json:"Created"`
	Path       string   `json:"Path"`
	Args       []string `json:"Args"`
	Image      string   `json:"Image"`      // digest of the manifest
	Profile    string   `json:",omitempty"` // which its defaults were of
	State      state
	Config     config
	HostConfig host
	Mapping    idmap.Mapping   `json:"IDMapping"`
	Cgroup     string          `json:"CgroupPath,omitempty"`
	LogPath    string          `json:"LogPath"`
	Bundle     string          `json:"BundlePath"`
	Events     []journal.Event // the latest
	// What the kernel says that the program runs under; the label is SELinux's.
	AppArmorProfile, ProcessLabel string
	Disk                          *disk    // nil: nothing is on one
	Home                          *home    // nil: none was made
	SystemTmpfs                   []string `json:",omitempty"` // together on one small tmpfs
	noSandboxFields
}

// disk is a record.Disk.
type disk struct {
	Size  int64 // bytes
	Tier  string
	Paths []string
	Why   []string
	Asked int64
}

// home is a record.Home.
type home struct {
	Path string
	Kind string
	Size int64 // bytes
	Why  string
}

type state struct {
	Status        record.Status
	Running       bool
	Paused        bool
	OOMKilled     bool
	OOMKills      uint64 // processes that the kernel has killed at the memory limit
	OOMVictim     string `json:",omitempty"`
	OOMFiles      uint64 `json:",omitempty"` // bytes that files in memory held then
	PidsLimitHits uint64
	Pid           int
	MonitorPid    int
	ExitCode      int
	Reason        string
	Error         string
	StartedAt     string
	FinishedAt    string
	noStateFields
}

type config struct {
	Image       string
	Hostname    string
	Domainname  string `json:",omitempty"`
	User        string
	Env         []string
	Cmd         []string
	WorkingDir  string
	Labels      map[string]string
	Entrypoint  []string // as --entrypoint said; null: the image's
	Tty         bool
	OpenStdin   bool
	StopSignal  string
	StopTimeout int

	ExposedPorts map[string]struct{} `json:",omitempty"`
	noConfigFields
}

type host struct {
	limits
	LimitsNotEnforced []string
	ReadonlyRootfs    bool
	AutoRemove        bool
	NetworkMode       string
	// What --add-host, --dns, --dns-search, --dns-option and --host-ca said.
	ExtraHosts, Dns, DnsSearch, DnsOptions []string //nolint:revive // docker's names
	HostCA                                 string   `json:",omitempty"`
	Tmpfs                                  map[string]string
	CapAdd                                 []string
	CapDrop                                []string
	GroupAdd                               []string `json:",omitempty"`
	SecurityOpt                            []string
	Runtime                                string
	RuntimeLongWay                         string // why cpc-runtime did not start it the quick way; "" if it did
	Ulimits                                []ulimit
	OomScoreAdj                            *int  // null: as cpc itself
	ShmSize                                int64 // bytes
	Init                                   bool
	Annotations                            map[string]string `json:",omitempty"`
	Sysctls                                map[string]string `json:",omitempty"`
	SharedIDs                              bool              // with the user's other sandboxes
	noHostFields
}

type ulimit struct {
	Name string
	Hard uint64
	Soft uint64
}

// stamp is a time as docker writes it, in JSON and in templates.
func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

func ulimitsOf(list []specs.POSIXRlimit) []ulimit {
	out := []ulimit{}
	for _, u := range list {
		name := strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_"))
		out = append(out, ulimit{Name: name, Hard: u.Hard, Soft: u.Soft})
	}
	return out
}

// inspectEntrypoint is nil for the image's and empty for none, as docker has it.
func entrypointOf(given *string) []string {
	switch {
	case given == nil:
		return nil
	case *given == "":
		return []string{}
	}
	return []string{*given}
}

// OfSandbox returns what there is to show of a sandbox.
func OfSandbox(e *record.Entry) Sandbox {
	r, asked, o, now := e.Record, e.Record.Asked, e.Record.Asked.Options, e.Record.Applied
	command := r.Command()
	v := Sandbox{
		ID: r.ID, Name: r.Name, Created: stamp(r.Created), Image: asked.ImageDigest, Profile: asked.Profile, Mapping: r.Mapping, Cgroup: now.CgroupPath,
		AppArmorProfile: now.AppArmor, ProcessLabel: now.SELinux, Disk: (*disk)(now.Disk),
		Home: (*home)(now.Home), SystemTmpfs: now.Places,
		LogPath: e.DataDir + "/log", Bundle: e.Dir + "/bundle", Events: kept(e), Args: []string{}, State: stateOf(r),
		Config: config{
			Image: asked.Image, Hostname: cmp.Or(now.Hostname, o.Hostname), Domainname: o.Domainname, User: cmp.Or(now.User, o.User),
			Entrypoint: entrypointOf(o.Entrypoint), Env: now.Env, Cmd: command, WorkingDir: cmp.Or(now.Workdir, o.Workdir),
			Labels: asked.Labels, Tty: o.TTY, OpenStdin: asked.Stdin, StopSignal: o.StopSignal, StopTimeout: asked.StopTimeout,
		},
		HostConfig: hostOf(r),
	}
	if now.Env == nil {
		v.Config.Env = o.Env
	}
	if v.HostConfig.LogConfig.Type = "local"; o.NoLog {
		v.HostConfig.LogConfig.Type, v.LogPath = "none", ""
	}
	for _, port := range o.Expose {
		if v.Config.ExposedPorts == nil {
			v.Config.ExposedPorts = map[string]struct{}{}
		}
		v.Config.ExposedPorts[port] = struct{}{}
	}
	v.Mounts = []noMount{}
	v.NetworkSettings = noNetworkSettings{Ports: map[string][]noPort{}, Networks: map[string]noNetwork{}}
	if len(command) > 0 {
		v.Path, v.Args = command[0], command[1:]
	}
	return v
}

func stateOf(r *record.Record) state {
	o := r.Outcome
	return state{
		Status: r.Status, Running: r.Status == record.Running || r.Status == record.Paused, Paused: r.Status == record.Paused,
		OOMKilled: o.OOMKilled, OOMKills: o.OOMKills, OOMVictim: o.Victim, OOMFiles: o.Files, PidsLimitHits: o.PidsHits,
		Pid: r.PID, MonitorPid: r.MonitorPID, ExitCode: o.ExitCode, Reason: o.Reason, Error: o.Error,
		StartedAt: stamp(r.Started), FinishedAt: stamp(r.Finished),
	}
}

func hostOf(r *record.Record) host {
	o, net := r.Asked.Options, r.Asked.Network
	v := host{
		limits: limitsOf(r.Applied.Limits), LimitsNotEnforced: r.Applied.NotEnforced,
		ReadonlyRootfs: o.ReadOnly, AutoRemove: r.Asked.AutoRemove, NetworkMode: o.Network,
		Dns: net.DNS.Servers, DnsSearch: net.DNS.Search, DnsOptions: net.DNS.Options, HostCA: net.HostCA.Path,
		Tmpfs:  map[string]string{},
		CapAdd: o.CapAdd, CapDrop: o.CapDrop, SecurityOpt: r.Asked.SecurityOpt, Runtime: r.Asked.Runtime,
		Ulimits: ulimitsOf(o.Ulimits), OomScoreAdj: o.OOMScoreAdj, ShmSize: o.ShmSize, Init: o.Init,
		Annotations: o.Annotations, SharedIDs: r.Applied.SharedIDs, GroupAdd: o.GroupAdd, RuntimeLongWay: r.Applied.LongWay,
	}
	for _, h := range net.Hosts {
		v.ExtraHosts = append(v.ExtraHosts, h.Name+":"+h.Addr.String())
	}
	if o.PortStart != nil {
		v.Sysctls = map[string]string{bundle.PortStartSysctl: strconv.Itoa(*o.PortStart)}
	}
	for _, t := range o.Tmpfs {
		v.Tmpfs[t.Path] = t.Options()
	}
	return v
}

// kept are the latest events of a sandbox, for inspect.
func kept(e *record.Entry) []journal.Event {
	const most = 100
	var events []journal.Event
	err := journal.Of(e).Read(func(e journal.Event) error {
		events = append(events, e)
		return nil
	})
	if err != nil {
		return nil // they are an extra
	}
	return events[max(0, len(events)-most):]
}
