// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// inspected is a sandbox as cpc inspect shows it: docker's fields where docker
// has one, so that scripts written for it find what they look for.
type inspected struct {
	ID         string   `json:"Id"`
	Name       string   `json:"Name"`
	Created    string   `json:"Created"`
	Path       string   `json:"Path"`
	Args       []string `json:"Args"`
	Image      string   `json:"Image"` // digest of the manifest
	State      inspectedState
	Config     inspectedConfig
	HostConfig inspectedHost
	Mapping    idmap.Mapping   `json:"IDMapping"`
	Cgroup     string          `json:"CgroupPath,omitempty"`
	LogPath    string          `json:"LogPath"`
	Bundle     string          `json:"BundlePath"`
	Events     []journal.Event // the latest
	// What the kernel says that the program runs under; the label is SELinux's.
	AppArmorProfile, ProcessLabel string
	Disk                          *inspectedDisk // nil: nothing is on one
	noSandboxFields
}

// inspectedDisk is a record.Disk.
type inspectedDisk struct {
	Size  int64 // bytes
	Tier  string
	Paths []string
	Why   []string
	Asked int64
}

type inspectedState struct {
	Status        record.Status
	Running       bool
	Paused        bool
	OOMKilled     bool
	OOMVictim     string `json:",omitempty"`
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

type inspectedConfig struct {
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

type inspectedHost struct {
	inspectedLimits
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
	Ulimits                                []inspectedUlimit
	OomScoreAdj                            *int  // null: as cpc itself
	ShmSize                                int64 // bytes
	Init                                   bool
	Annotations                            map[string]string `json:",omitempty"`
	SharedIDs                              bool              // with the user's other sandboxes
	noHostFields
}

type inspectedUlimit struct {
	Name string
	Hard uint64
	Soft uint64
}

// stamp is a time as docker writes it, in JSON and in templates.
func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

func inspectUlimits(list []specs.POSIXRlimit) []inspectedUlimit {
	out := []inspectedUlimit{}
	for _, u := range list {
		name := strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_"))
		out = append(out, inspectedUlimit{Name: name, Hard: u.Hard, Soft: u.Soft})
	}
	return out
}

// inspectEntrypoint is nil for the image's and empty for none, as docker has it.
func inspectEntrypoint(given *string) []string {
	switch {
	case given == nil:
		return nil
	case *given == "":
		return []string{}
	}
	return []string{*given}
}

func inspectSandbox(e *record.Entry) inspected {
	r, asked, o, now := e.Record, e.Record.Asked, e.Record.Asked.Options, e.Record.Applied
	command := r.Command()
	v := inspected{
		ID: r.ID, Name: r.Name, Created: stamp(r.Created), Image: asked.ImageDigest, Mapping: r.Mapping, Cgroup: now.CgroupPath,
		AppArmorProfile: now.AppArmor, ProcessLabel: now.SELinux, Disk: (*inspectedDisk)(now.Disk),
		LogPath: e.DataDir + "/log", Bundle: e.Dir + "/bundle", Events: kept(e), Args: []string{}, State: inspectState(r),
		Config: inspectedConfig{
			Image: asked.Image, Hostname: cmp.Or(now.Hostname, o.Hostname), Domainname: o.Domainname, User: cmp.Or(now.User, o.User),
			Entrypoint: inspectEntrypoint(o.Entrypoint), Env: now.Env, Cmd: command, WorkingDir: cmp.Or(now.Workdir, o.Workdir),
			Labels: asked.Labels, Tty: o.TTY, OpenStdin: asked.Stdin, StopSignal: o.StopSignal, StopTimeout: asked.StopTimeout,
		},
		HostConfig: inspectHost(r),
	}
	if now.Env == nil {
		v.Config.Env = o.Env
	}
	if v.HostConfig.LogConfig.Type = logLocal; o.NoLog {
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

func inspectState(r *record.Record) inspectedState {
	o := r.Outcome
	return inspectedState{
		Status: r.Status, Running: r.Status == record.Running || r.Status == record.Paused, Paused: r.Status == record.Paused,
		OOMKilled: o.OOMKilled, OOMVictim: o.Victim, PidsLimitHits: o.PidsHits,
		Pid: r.PID, MonitorPid: r.MonitorPID, ExitCode: o.ExitCode, Reason: o.Reason, Error: o.Error,
		StartedAt: stamp(r.Started), FinishedAt: stamp(r.Finished),
	}
}

func inspectHost(r *record.Record) inspectedHost {
	o, net := r.Asked.Options, r.Asked.Network
	v := inspectedHost{
		inspectedLimits: inspectLimits(r.Applied.Limits), LimitsNotEnforced: r.Applied.NotEnforced,
		ReadonlyRootfs: o.ReadOnly, AutoRemove: r.Asked.AutoRemove, NetworkMode: o.Network,
		Dns: net.DNS.Servers, DnsSearch: net.DNS.Search, DnsOptions: net.DNS.Options, HostCA: net.HostCA.Path,
		Tmpfs:  map[string]string{},
		CapAdd: o.CapAdd, CapDrop: o.CapDrop, SecurityOpt: r.Asked.SecurityOpt, Runtime: r.Asked.Runtime,
		Ulimits: inspectUlimits(o.Ulimits), OomScoreAdj: o.OOMScoreAdj, ShmSize: o.ShmSize, Init: o.Init,
		Annotations: o.Annotations, SharedIDs: r.Applied.SharedIDs, GroupAdd: o.GroupAdd, RuntimeLongWay: r.Applied.LongWay,
	}
	for _, h := range net.Hosts {
		v.ExtraHosts = append(v.ExtraHosts, h.Name+":"+h.Addr.String())
	}
	for _, t := range o.Tmpfs {
		v.Tmpfs[t.Path] = t.Options()
	}
	return v
}

// inspectedLimits have docker's names, and cpc's where docker has no such limit.
type inspectedLimits struct {
	Memory               int64
	MemoryReservation    int64
	MemorySwap           int64 // memory and swap together
	MemoryHigh           int64
	NanoCpus             int64
	CpuShares            int64 //nolint:revive // docker's name
	CpuPeriod            int64 //nolint:revive // docker's name
	CpuQuota             int64 //nolint:revive // docker's name
	CpusetCpus           string
	CpusetMems           string
	PidsLimit            int64
	BlkioWeight          int64
	BlkioDeviceReadBps   []inspectedRate
	BlkioDeviceWriteBps  []inspectedRate
	BlkioDeviceReadIOps  []inspectedRate
	BlkioDeviceWriteIOps []inspectedRate
}

type inspectedRate struct {
	Path string
	Rate uint64
}

func inspectLimits(l cgroups.Limits) inspectedLimits {
	v := inspectedLimits{
		Memory: l.Memory, MemoryReservation: l.Reservation, MemorySwap: l.Swap, MemoryHigh: l.High,
		NanoCpus: l.MilliCPU * 1e6, CpuShares: l.Shares, CpuPeriod: l.Period, CpuQuota: l.Quota,
		CpusetCpus: l.CPUs, CpusetMems: l.Mems, PidsLimit: l.Pids, BlkioWeight: l.IOWeight,
	}
	if l.Swap == 0 {
		v.MemorySwap = l.Memory // no swap on top
	}
	for _, r := range l.Rates {
		var to *[]inspectedRate
		switch r.Kind {
		case cgroups.ReadBps:
			to = &v.BlkioDeviceReadBps
		case cgroups.WriteBps:
			to = &v.BlkioDeviceWriteBps
		case cgroups.ReadIOPS:
			to = &v.BlkioDeviceReadIOps
		case cgroups.WriteIOPS:
			to = &v.BlkioDeviceWriteIOps
		default:
			continue
		}
		*to = append(*to, inspectedRate{r.Device, r.Rate})
	}
	return v
}

// inspectedImage is an image as cpc inspect shows it.
type inspectedImage struct {
	ID           string `json:"Id"` // digest of the config, docker's image id
	Digest       string // of the manifest
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      string `json:",omitempty"`
	Author       string
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64 // bytes, compressed
	Config       inspectedImageConfig
	RootFS       inspectedRootFS
	History      any
	noImageFields
}

type inspectedImageConfig struct {
	v1.ImageConfig
	Healthcheck *rootfs.Healthcheck `json:",omitempty"`
	Shell       []string            `json:",omitempty"`
	OnBuild     []string            `json:",omitempty"`
	noImageConfigFields
}

type inspectedRootFS struct {
	Type   string
	Layers []digest.Digest
}

func inspectImage(img *rootfs.Image) inspectedImage {
	c := img.Config
	v := inspectedImage{
		ID: img.ConfigDigest.String(), Digest: img.Digest.String(), RepoTags: []string{}, RepoDigests: []string{},
		Author: c.Author, Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, Size: img.Size,
		Config:  inspectedImageConfig{ImageConfig: c.Config, Healthcheck: c.Docker.Healthcheck, Shell: c.Docker.Shell, OnBuild: c.Docker.OnBuild},
		RootFS:  inspectedRootFS{c.RootFS.Type, c.RootFS.DiffIDs},
		History: c.History,
	}
	if c.Created != nil {
		v.Created = stamp(*c.Created)
	}
	for _, name := range familiarNames(img.Names) {
		repository, tag := splitTag(name)
		if tag != "<none>" {
			v.RepoTags = append(v.RepoTags, name)
		}
		pinned := repository + "@" + cmp.Or(img.Index, img.Digest).String()
		if !slices.Contains(v.RepoDigests, pinned) {
			v.RepoDigests = append(v.RepoDigests, pinned)
		}
	}
	if n := len(c.History); n > 0 {
		v.Comment = c.History[n-1].Comment
	}
	return v
}

func (a inspectCommands) inspectCommand() *cobra.Command {
	var l listing
	var kind string
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NAME...", Short: "Show detailed information on sandboxes and images",
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && kind != "image" && kind != "sandbox" && kind != "container" {
				return usageError{fmt.Errorf("--type %q: choose sandbox or image", kind)}
			}
			found := []any{}
			var failed error
			for _, name := range args {
				v, err := a.inspectOne(cmd, name, kind)
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				found = append(found, v)
			}
			if l.format == "json" {
				l.format, l.json = "", true
			}
			if l.format == "" {
				l.json = true
			}
			return errors.Join(printRows(cmd.OutOrStdout(), l, nil, found), failed)
		},
	}
	cmd.Flags().StringVar(&kind, "type", "", "`TYPE` of the object: sandbox or image (default: the first that exists)")
	l.registerShort(cmd, "f")
	return cmd
}

// errNoSuchThing reports a name that neither a sandbox nor an image has.
var errNoSuchThing = hint.New("no such sandbox or image",
	"List the sandboxes with: cpc ps -a. List the images with: cpc images")

func (a inspectCommands) inspectOne(cmd *cobra.Command, name, kind string) (any, error) {
	if kind != "image" {
		e, err := a.engine()
		if err != nil {
			return nil, err
		}
		entry, err := e.Set.Find(name)
		if err == nil {
			return inspectSandbox(entry), nil
		}
		if kind != "" || !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
	}
	img, err := a.findImage(cmd.Context(), name, pullNever, "")
	if errors.Is(err, rootfs.ErrNotFound) && kind == "" {
		return nil, fmt.Errorf("%w: %s", errNoSuchThing, name)
	}
	if err != nil {
		return nil, err
	}
	return inspectImage(img), nil
}
