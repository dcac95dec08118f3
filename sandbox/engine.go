// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package sandbox runs sandboxes: it turns what a person asked for into a
// monitor process and talks to that process from then on.
//
// The packages below it: record knows which sandboxes there are, bundle plans
// the OCI bundle, process runs a program under an OCI runtime, wire is the
// language of the control socket, logfile keeps output, journal what happened,
// monitor is the process that looks after one sandbox, step runs RUN
// instructions. This package is
// the client's side: it runs in the host's namespaces as the calling user and
// needs no privilege.
package sandbox

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/claude-pocket-console/cpc/internal/beside"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// Engine is one user's sandboxes.
type Engine struct {
	Dirs    dirs.Dirs
	IDs     userns.IDs
	Runtime string // path of the OCI runtime
	Set     record.Set

	sweeping sync.Mutex // one sweep at a time: each is for all sandboxes

	init string // path of the cpc-runtime that serves as --init
}

// ErrNoRuntime reports that cpc-runtime is not where it should be.
var ErrNoRuntime = hint.New("OCI runtime not found",
	"Install cpc-runtime beside cpc (make install), or give its path with --runtime PATH.")

// Open finds the calling user's sandboxes. The runtime is the given path or
// name, or, if empty, the cpc-runtime beside this program or in PATH.
func Open(runtime string) (*Engine, error) {
	d, err := dirs.Find()
	if err != nil {
		return nil, err
	}
	e := &Engine{Dirs: d, IDs: userns.Discover(), Set: record.Set{Dirs: d}}
	if e.init, err = FindRuntime(""); err != nil {
		return nil, err
	}
	e.Runtime, err = FindRuntime(runtime)
	return e, err
}

// FindRuntime returns the path of the OCI runtime that is asked for or, if that
// is empty, of the cpc-runtime beside this program or in PATH.
func FindRuntime(asked string) (string, error) {
	if asked == "" {
		const own = "cpc-runtime"
		path, err := beside.Find(own)
		if err != nil {
			return "", fmt.Errorf("%w: %s", ErrNoRuntime, own)
		}
		return path, nil
	}
	path, err := exec.LookPath(asked)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrNoRuntime, asked)
	}
	return filepath.Abs(path)
}
