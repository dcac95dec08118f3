// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitor is the process that looks after one sandbox from before it
// starts until nothing of it is left.
//
// Theory of operation. cpc run starts the monitor in namespaces of its own
// (package userns) and hands it a Task. The monitor is pid 1 there. It mounts
// the root file system, writes the bundle, has the OCI runtime create and start
// the container, and from then on is the container's parent: it holds the
// terminal's or pipes' other ends, keeps the log, serves attach, exec and stop
// requests on the control socket, and waits. At the end it takes down what it
// made and lets go of the sandbox's lock.
//
// Each of its parts is a value that is opened in one place and closed in one:
//
//	control  the control socket, the client that started the sandbox, waiters
//	root     what is held of the store, the mounts, the disk
//	limits   the cgroup's plan and its watcher, the freezer, the budget
//	outlet   the gateway of an allowlist
//	program  the container, its init and what that writes
//
// The history is the record and the journals; all the others report to it. The
// OCI runtime (ociRuntime) and what needs namespaces (machine) are interfaces, so
// that the order of things is tested without either.
//
// Should the monitor die before the end, the kernel kills every process of its pid
// namespace, which is all of the sandbox, and drops its mounts; the files that
// stay are removed by the next cpc command (Sweep).
//
// Locks: limits.changing comes before limits.mu and history.mu; control.mu before
// fanout.mu. All others are leaves, and no frame of output is written to a connection
// while one of them is held.
package monitor

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Role is the monitor's hand-off role, and the word that `ps` shows.
const Role = "monitor"

// Descriptors of the files that come with a Task.
const (
	listenerFD = handoff.FirstFile + iota // the control socket, listening
	lockFD                                // the sandbox's lock, held
	ownerFD                               // a socket to the cpc that started us
	rangeFD                               // root only: the lock of the id range
)

// Task is all that a monitor needs to know.
type Task struct {
	Record record.Record `json:"record"`
	Dirs   dirs.Dirs     `json:"dirs"`
	Plan   cgroups.Plan  `json:"plan"`
	// Private is what the record does not have of Record.Asked.Network.
	Private network.Private `json:"private"`
	// Seccomp is the loaded profile; nil only if the options say unconfined.
	Seccomp *specs.LinuxSeccomp `json:"seccomp,omitempty"`
	// SharesKeyring: the monitor's session keyring is that of all of the user's
	// sandboxes, and serves this one, which cannot reach it.
	SharesKeyring bool       `json:"sharesKeyring,omitempty"`
	Init          string     `json:"init,omitempty"` // cpc-runtime's path, for --init
	Size          *wire.Size `json:"size,omitempty"`
	By            string     `json:"by,omitempty"`     // who starts it, for the journal
	DryRun        bool       `json:"dryRun,omitempty"` // answer with the bundle's config.json
}

// options are what was asked of the sandbox.
func (t *Task) options() *bundle.Options { return &t.Record.Asked.Options }
