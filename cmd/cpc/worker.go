// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// workerRole is the hand-off role of the copy of cpc that runs a command which
// needs U0: to unpack layers, to mount, to remove files of other ids.
const workerRole = "worker"

// worker is what that copy is told.
type worker struct {
	Args    []string      `json:"args"`
	Dirs    dirs.Dirs     `json:"dirs"`
	Mapping idmap.Mapping `json:"mapping"`
	// Credentials is the descriptor on which the parent answers for them.
	Credentials int `json:"credentials"`
	// Config is what the parent has read of config.toml already, if it has.
	Config *config.Config `json:"config,omitempty"`

	keys *parentKeychain // on that descriptor
	warn func(string)    // of what could not be kept of an image
	// progress is told of layers that are unpacked.
	progress func(rootfs.Event)
}

// store opens the image store as this process may use it.
func (w *worker) store() (*rootfs.Store, error) {
	return rootfs.Open(rootfs.Options{
		Dir: w.Dirs.Data, Mapping: w.Mapping, Warn: func(what string) { w.warn("warning: " + what) },
		Progress: func(e rootfs.Event) {
			if w.progress != nil {
				w.progress(e)
			}
		},
	})
}

// inU0 runs the current command line again in a copy of cpc that lives in
// namespaces of its own, and returns its exit status as an error.
func (a *app) inU0(args []string) error {
	d, err := dirs.Find()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(a.ends.ctx)
	defer cancel()
	ids := userns.Discover()
	var base uint32
	var files []*os.File
	if ids.Mode == idmap.Root {
		var held *os.File
		if base, held, err = userns.TakeRange(d.State); err != nil {
			return err
		}
		defer held.Close()
		files = append(files, held)
	}
	credentials, err := answerCredentials(ctx, a.keychain(tellStderr))
	if err != nil {
		return err
	}
	defer credentials.Close()
	files = append(files, credentials)
	at := handoff.FirstFile + len(files) - 1
	goruntime.LockOSThread() // the copy is killed when this thread ends
	defer goruntime.UnlockOSThread()
	cmd, err := userns.Start(userns.Child{
		Role: workerRole, Args: args, IDs: ids, Files: files,
		Body: func(int) (any, error) {
			return worker{Args: args, Dirs: d, Mapping: ids.Mapping(base), Credentials: at, Config: a.configurationRead()}, nil
		},
	})
	if err != nil {
		return err
	}
	return a.waitWorker(cmd)
}

// waitWorker waits for the copy, and passes on the signal that is to end this
// process. What comes from a terminal the copy gets itself, too.
func (a *app) waitWorker(cmd *exec.Cmd) error {
	stop := context.AfterFunc(a.ends.ctx, func() { _ = cmd.Process.Signal(unix.Signal(a.ends.first.Load())) })
	defer stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(interface{ Signaled() bool }); ok && status.Signaled() {
		return fmt.Errorf("worker process: %w", err)
	}
	return exitStatus(exit.ExitCode())
}

// workerMain is that copy.
func workerMain() int {
	var w worker
	if err := handoff.Receive(workerRole, &w); err != nil {
		fmt.Fprintf(stderr(), "cpc worker: %v\nIt is started by other cpc commands.\n", err)
		return usageFailure
	}
	hostProc, err := userns.Settle(w.Mapping.Mode)
	if err != nil {
		fmt.Fprintf(stderr(), "cpc worker: %v\n", err)
		return defaultFailure
	}
	_ = hostProc.Close()
	w.keys, w.warn = newParentKeychain(w.Credentials), tellStderr
	return execute(w.Args, &w)
}
