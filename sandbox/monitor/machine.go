// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/process"
)

// machine is what a start needs of the host and needs namespaces of its own for.
// Unit tests have another than the real one.
type machine interface {
	// settle makes this process ready for its work, once.
	settle(t *Task) error
	openRoot(ctx context.Context, t *Task, tell func(rootfs.Event)) (*root, error)
	// runtime is that of the sandbox with this directory.
	runtime(t *Task, dir string) ociRuntime
	// hostPID is the pid by which the host knows a process.
	hostPID(pid int) (int, error)
	// signals are those that tell this process to end.
	signals() <-chan os.Signal
}

type realMachine struct {
	proc *os.File // the host's /proc
}

func (r *realMachine) settle(t *Task) (err error) {
	if r.proc, err = userns.Settle(t.Record.Mapping.Mode); err != nil {
		return err
	}
	return t.Plan.SettleInScope()
}

func (*realMachine) openRoot(ctx context.Context, t *Task, tell func(rootfs.Event)) (*root, error) {
	return openRoot(ctx, t, tell)
}

func (*realMachine) runtime(t *Task, dir string) ociRuntime {
	return realRuntime{&process.Runtime{Path: t.Record.Asked.Runtime, Dir: dir, ID: t.Record.ID, KeepKeyring: t.SharesKeyring}}
}

func (r *realMachine) hostPID(pid int) (int, error) { return userns.HostPID(r.proc, pid) }

func (*realMachine) signals() <-chan os.Signal {
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	return told
}
