// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/netns"
)

// oldRecord is a record of version 1, which had what was asked and what came of it in
// one list of settings. Such records are read, so that an upgrade loses no sandbox,
// and never written.
type oldRecord struct {
	Record
	Image       string            `json:"image"`
	ImageDigest string            `json:"imageDigest"`
	Command     []string          `json:"command"`
	Labels      map[string]string `json:"labels"`
	Settings    oldSettings       `json:"settings"`
}

type oldSettings struct {
	TTY         bool                `json:"tty"`
	OpenStdin   bool                `json:"openStdin"`
	AutoRemove  bool                `json:"autoRemove"`
	ReadOnly    bool                `json:"readOnly"`
	Network     string              `json:"network"`
	Names       oldNames            `json:"names"`
	User        string              `json:"user"`
	Workdir     string              `json:"workdir"`
	Hostname    string              `json:"hostname"`
	Env         []string            `json:"env"`
	Tmpfs       map[string]string   `json:"tmpfs"`
	CapAdd      []string            `json:"capAdd"`
	CapDrop     []string            `json:"capDrop"`
	SecurityOpt []string            `json:"securityOpt"`
	Limits      cgroups.Limits      `json:"limits"`
	AppArmor    string              `json:"appArmor"`
	SELinux     string              `json:"selinux"`
	NotEnforced []string            `json:"notEnforced"`
	Disk        *Disk               `json:"disk"`
	CgroupPath  string              `json:"cgroupPath"`
	StopSignal  string              `json:"stopSignal"`
	StopTimeout int                 `json:"stopTimeout"`
	Runtime     string              `json:"runtime"`
	Entrypoint  *string             `json:"entrypoint"`
	Ulimits     []specs.POSIXRlimit `json:"ulimits"`
	OOMScoreAdj *int                `json:"oomScoreAdj"`
	ShmSize     int64               `json:"shmSize"`
	Init        bool                `json:"init"`
	Annotations map[string]string   `json:"annotations"`
	GroupAdd    []string            `json:"groupAdd"`
	Domainname  string              `json:"domainname"`
	Expose      []string            `json:"expose"`
	NoLog       bool                `json:"noLog"`
	SharedIDs   bool                `json:"sharedIDs"`
}

type oldNames struct {
	Hosts   []string `json:"hosts"` // NAME:ADDRESS
	Servers []string `json:"servers"`
	Search  []string `json:"search"`
	Options []string `json:"options"`
	HostCA  string   `json:"hostCA"`
}

// upgrade returns the record as this version has it. What version 1 did not keep
// apart, as the command of the image and that of the caller, counts as applied.
func (v *oldRecord) upgrade() (*Record, error) {
	r, s := v.Record, v.Settings
	r.Version = recordVersion
	r.Applied = Applied{
		Command: v.Command, User: s.User, Workdir: s.Workdir, Env: s.Env, Hostname: s.Hostname, Limits: s.Limits, NotEnforced: s.NotEnforced,
		CgroupPath: s.CgroupPath, AppArmor: s.AppArmor, SELinux: s.SELinux, Disk: s.Disk, SharedIDs: s.SharedIDs,
	}
	r.Asked = Asked{
		Image: v.Image, ImageDigest: v.ImageDigest, Labels: v.Labels, SecurityOpt: s.SecurityOpt,
		Stdin: s.OpenStdin, AutoRemove: s.AutoRemove, StopTimeout: s.StopTimeout, Runtime: s.Runtime,
	}
	o := &r.Asked.Options
	o.TTY, o.ReadOnly, o.Network, o.Init, o.NoLog = s.TTY, s.ReadOnly, s.Network, s.Init, s.NoLog
	o.Entrypoint, o.GroupAdd, o.Domainname, o.Expose, o.StopSignal = s.Entrypoint, s.GroupAdd, s.Domainname, s.Expose, s.StopSignal
	o.CapAdd, o.CapDrop, o.Ulimits, o.OOMScoreAdj = s.CapAdd, s.CapDrop, s.Ulimits, s.OOMScoreAdj
	o.ShmSize, o.Annotations, o.Limits = s.ShmSize, s.Annotations, s.Limits
	if s.Disk != nil {
		o.Disk = s.Disk.Asked
	}
	for _, path := range slices.Sorted(maps.Keys(s.Tmpfs)) {
		t, err := dockerflag.ParseTmpfs(path + ":" + s.Tmpfs[path])
		if err != nil {
			return nil, fmt.Errorf("tmpfs: %w", err)
		}
		o.Tmpfs = append(o.Tmpfs, t)
	}
	n := &r.Asked.Network
	n.DNS.Servers, n.DNS.Search, n.DNS.Options, n.HostCA.Path = s.Names.Servers, s.Names.Search, s.Names.Options, s.Names.HostCA
	for _, h := range s.Names.Hosts {
		host, err := netns.ParseAddHost(h)
		if err != nil {
			return nil, err
		}
		n.Hosts = append(n.Hosts, host)
	}
	return &r, nil
}
