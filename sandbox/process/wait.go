// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package process is one program that an OCI runtime starts for cpc: the
// runtime's command line, the program's terminal or pipes, the files that it
// finds in /etc, and waiting for it.
//
// The runtime is any that has the published command line. What it starts is
// orphaned when the runtime's own process ends, so the caller has to be pid 1
// of a pid namespace, as monitors and builders are (package userns): it is the
// parent of every program here, and waits for each.
package process

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// reap waits for one process that has become a child of this one.
func reap(pid int) unix.WaitStatus {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == nil {
			return status
		}
		if !errors.Is(err, unix.EINTR) {
			return unix.WaitStatus(unix.SIGKILL) // not ours to wait for: counts as killed
		}
	}
}

// ExitCode is the shell's number for how a process ended: 128+n for signal n.
func ExitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// CallerIDs are the ids, in this user namespace, that a program of user's has.
func CallerIDs(mapping idmap.Mapping, user bundle.ResolvedUser) (uid, gid int) {
	u, errU := mapping.ToCaller(user.UID)
	g, errG := mapping.ToCaller(user.GID)
	if errors.Join(errU, errG) != nil {
		return int(mapping.Base), int(mapping.Base) // Single mode: there is only one
	}
	return int(u), int(g)
}
