// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package record keeps what is known of each sandbox: one directory per
// sandbox with its record, its control socket and a lock.
//
// Invariants: a directory and the name in it are made under the state
// directory's lock, so names are unique. Whoever looks after the sandbox (its
// monitor) holds the lock in the sandbox's directory for as long as it lives;
// the kernel lets go of it however that process ends. So a record that does not
// say "exited" and whose lock is free belongs to a monitor that died, and what
// it left is cleaned up by the next cpc command. record.json is replaced
// atomically and written by one process at a time: the client until the
// hand-off, then the monitor.
package record

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Status is where a sandbox stands.
type Status string

// The states of a sandbox, named as docker names them.
const (
	Created Status = "created"
	Running Status = "running"
	Paused  Status = "paused"
	Exited  Status = "exited"
	Dead    Status = "dead" // never written: its monitor is gone and nobody cleaned up yet
)

// Record is what is known of one sandbox.
type Record struct {
	Version     int               `json:"version"`
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Image       string            `json:"image"`
	ImageDigest string            `json:"imageDigest"`
	Command     []string          `json:"command"`
	Labels      map[string]string `json:"labels,omitempty"`
	Settings    Settings          `json:"settings"`
	Outcome     Outcome           `json:"outcome"`

	Status     Status        `json:"status"`
	PID        int           `json:"pid,omitempty"`        // of the sandbox's init, as the host counts
	MonitorPID int           `json:"monitorPid,omitempty"` // as the host counts
	Mapping    idmap.Mapping `json:"mapping"`
	Created    time.Time     `json:"created"`
	Started    time.Time     `json:"started,omitzero"`
	Finished   time.Time     `json:"finished,omitzero"`
}

// Settings are the choices that a person would want to see again.
type Settings struct {
	TTY         bool              `json:"tty"`
	OpenStdin   bool              `json:"openStdin"`
	AutoRemove  bool              `json:"autoRemove"`
	ReadOnly    bool              `json:"readOnly"`
	Network     string            `json:"network"`
	Names       Names             `json:"names,omitzero"`
	User        string            `json:"user"`
	Workdir     string            `json:"workdir"`
	Hostname    string            `json:"hostname"`
	Env         []string          `json:"env"`
	Tmpfs       map[string]string `json:"tmpfs,omitempty"`
	CapAdd      []string          `json:"capAdd,omitempty"`
	CapDrop     []string          `json:"capDrop,omitempty"`
	SecurityOpt []string          `json:"securityOpt,omitempty"`
	Limits      cgroups.Limits    `json:"limits"`
	AppArmor    string            `json:"appArmor,omitempty"` // profile, read back from the kernel
	SELinux     string            `json:"selinux,omitempty"`  // label, likewise
	NotEnforced []string          `json:"notEnforced,omitempty"`
	Disk        *Disk             `json:"disk,omitempty"` // nil: nothing is on one
	CgroupPath  string            `json:"cgroupPath,omitempty"`
	StopSignal  string            `json:"stopSignal,omitempty"`
	StopTimeout int               `json:"stopTimeout"` // seconds
	Runtime     string            `json:"runtime"`

	Entrypoint  *string             `json:"entrypoint,omitempty"` // as given; nil: the image's
	Ulimits     []specs.POSIXRlimit `json:"ulimits,omitempty"`
	OOMScoreAdj *int                `json:"oomScoreAdj,omitempty"` // nil: cpc's own
	ShmSize     int64               `json:"shmSize,omitempty"`     // bytes
	Init        bool                `json:"init,omitempty"`
	Annotations map[string]string   `json:"annotations,omitempty"`
	GroupAdd    []string            `json:"groupAdd,omitempty"`
	Domainname  string              `json:"domainname,omitempty"`
	Expose      []string            `json:"expose,omitempty"` // PORT/PROTOCOL
	NoLog       bool                `json:"noLog,omitempty"`  // output is not kept
	// SharedIDs: the user's other sandboxes have the same ids.
	SharedIDs bool `json:"sharedIDs"`
}

// Names is what a sandbox finds hosts by, and the CAs by which it trusts them.
type Names struct {
	Hosts   []string `json:"hosts,omitempty"` // NAME:ADDRESS
	Servers []string `json:"servers,omitempty"`
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
	HostCA  string   `json:"hostCA,omitempty"` // path on the host
}

// Disk is the disk that a sandbox was given.
type Disk struct {
	Size  int64    `json:"size"`          // bytes
	Tier  string   `json:"tier"`          // loop, fuse2fs or tmpfs
	Paths []string `json:"paths"`         // what is on it
	Why   []string `json:"why,omitempty"` // it is not of a better tier
	Asked int64    `json:"asked"`         // bytes
}

// Outcome is how a sandbox ended.
type Outcome struct {
	ExitCode  int    `json:"exitCode"`
	OOMKilled bool   `json:"oomKilled"`
	PidsHits  uint64 `json:"pidsLimitHits"` // forks refused by the pids limit
	Victim    string `json:"oomVictim,omitempty"`
	Reason    string `json:"reason,omitempty"` // when it was not the program's own doing
	Error     string `json:"error,omitempty"`  // when it could not be started
}

const (
	recordVersion = 1
	recordFile    = "record.json"
	lockFile      = "lock"
	maxRecord     = 4 << 20
)

// write replaces the record in dir.
func (r *Record) write(dir string) error {
	r.Version = recordVersion
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	// The state directory is gone after a reboot, as the sandboxes are.
	o := atomicfile.Options{Volatile: true}
	if err := atomicfile.Replace(filepath.Join(dir, recordFile), o, atomicfile.Content(raw)); err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	return nil
}

func read(dir string) (*Record, error) {
	file := filepath.Join(dir, recordFile)
	raw, err := ownfile.Read(file, maxRecord)
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("record %s: %w", file, err)
	}
	if r.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("record %s: it is that of sandbox %q", file, Short(r.ID))
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("record %s: version %d, this cpc understands %d", file, r.Version, recordVersion)
	}
	return &r, nil
}
