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

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
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

// Record is what is known of one sandbox: what was asked and what came of it.
type Record struct {
	Version int     `json:"version"`
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Asked   Asked   `json:"asked"`
	Applied Applied `json:"applied"`
	Outcome Outcome `json:"outcome"`

	Status     Status        `json:"status"`
	PID        int           `json:"pid,omitempty"`        // of the sandbox's init, as the host counts
	MonitorPID int           `json:"monitorPid,omitempty"` // as the host counts
	Mapping    idmap.Mapping `json:"mapping"`
	Created    time.Time     `json:"created"`
	Started    time.Time     `json:"started,omitzero"`
	Finished   time.Time     `json:"finished,omitzero"`
}

// Asked is what was asked of a sandbox. It does not change after the request. The
// monitor works by it, and so does whoever wants to see it again. What package
// network keeps out of it, proxies and certificates, is on no disk.
type Asked struct {
	Image       string            `json:"image"`       // as it was named
	ImageDigest string            `json:"imageDigest"` // of its manifest
	Profile     string            `json:"profile,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Options     bundle.Options    `json:"options"`
	SecurityOpt []string          `json:"securityOpt,omitempty"` // as given
	Network     network.Options   `json:"network"`
	Stdin       bool              `json:"stdin"` // the program's input is kept open
	AutoRemove  bool              `json:"autoRemove"`
	Detach      bool              `json:"detach"`
	BestEffort  bool              `json:"bestEffort"`  // run even where limits cannot be enforced
	StopTimeout int               `json:"stopTimeout"` // seconds
	Runtime     string            `json:"runtime"`     // path
}

// Applied is what came of it: what the image and this host have added, and what
// is in force. Command to Env are empty until the monitor has planned the sandbox.
type Applied struct {
	Command     []string       `json:"command,omitempty"`
	User        string         `json:"user,omitempty"`
	Workdir     string         `json:"workdir,omitempty"`
	Env         []string       `json:"env,omitempty"`
	Hostname    string         `json:"hostname"`
	Limits      cgroups.Limits `json:"limits"`
	NotEnforced []string       `json:"notEnforced,omitempty"` // of the limits
	CgroupPath  string         `json:"cgroupPath,omitempty"`
	AppArmor    string         `json:"appArmor,omitempty"` // profile, read back from the kernel
	SELinux     string         `json:"selinux,omitempty"`  // label, likewise
	Disk        *Disk          `json:"disk,omitempty"`     // nil: nothing is on one
	Home        *Home          `json:"home,omitempty"`     // nil: none was made
	Places      []string       `json:"places,omitempty"`   // of the system, together on a small tmpfs
	// SharedIDs: the user's other sandboxes have the same ids.
	SharedIDs bool `json:"sharedIDs"`
	// LongWay is why cpc-runtime has started the sandbox by libcontainer's own init.
	LongWay string `json:"longWay,omitempty"`
}

// Command is what the sandbox runs, or is to run.
func (r *Record) Command() []string {
	if r.Applied.Command == nil {
		return r.Asked.Options.Args
	}
	return r.Applied.Command
}

// Disk is the disk that a sandbox was given.
type Disk struct {
	Size  int64    `json:"size"`          // bytes
	Tier  string   `json:"tier"`          // loop, fuse2fs or tmpfs
	Paths []string `json:"paths"`         // what is on it
	Why   []string `json:"why,omitempty"` // it is not of a better tier
	Asked int64    `json:"asked"`         // bytes
}

// Home is the writable home that a sandbox's user was given.
type Home struct {
	Path string `json:"path"`
	Kind string `json:"kind"`          // tmpfs, overlay, copy or root
	Size int64  `json:"size"`          // bytes; 0: that of the disk
	Why  string `json:"why,omitempty"` // it is a copy
}

// Outcome is how a sandbox ended.
type Outcome struct {
	ExitCode int `json:"exitCode"`
	// OOMKilled: the kernel has killed a process at the memory limit, OOMKills of
	// them, and Files is what files in memory held then, in bytes.
	OOMKilled bool   `json:"oomKilled"`
	OOMKills  uint64 `json:"oomKills,omitempty"`
	Files     uint64 `json:"oomFiles,omitempty"`
	PidsHits  uint64 `json:"pidsLimitHits"` // forks refused by the pids limit
	Victim    string `json:"oomVictim,omitempty"`
	Reason    string `json:"reason,omitempty"` // when it was not the program's own doing
	Error     string `json:"error,omitempty"`  // when it could not be started
}

const (
	recordVersion = 2
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
	r, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", file, err)
	}
	if r.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("record %s: it is that of sandbox %q", file, Short(r.ID))
	}
	return r, nil
}

// parse reads a record of this version, or of the one before.
func parse(raw []byte) (*Record, error) {
	var kind struct{ Version int }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	switch kind.Version {
	case recordVersion:
		var r Record
		return &r, json.Unmarshal(raw, &r)
	case 1:
		var r oldRecord
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, err
		}
		return r.upgrade()
	}
	return nil, fmt.Errorf("version %d, this cpc understands %d", kind.Version, recordVersion)
}
