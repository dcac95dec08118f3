// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// workspace is a directory for unfinished work: tmp/NAME, owned by who holds
// the lock on tmp/NAME.lock. Both are made under a shared lock of locks/tmp,
// so that a sweep, which holds it exclusively, never sees one without lock.
type workspace struct {
	dir  string
	lock *filelock.Lock
}

func (s *Store) newWorkspace(ctx context.Context) (_ *workspace, err error) {
	guard, err := filelock.Acquire(ctx, s.path("locks/tmp"), filelock.Shared)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, guard.Close()) }()
	dir, err := os.MkdirTemp(s.path("tmp"), "w")
	if err != nil {
		return nil, err
	}
	lock, err := filelock.Try(dir+".lock", filelock.Exclusive)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &workspace{dir: dir, lock: lock}, nil
}

func (w *workspace) path(name string) string { return filepath.Join(w.dir, name) }

// close removes the workspace and all that was not moved out of it.
func (w *workspace) close() error {
	return errors.Join(layer.Remove(w.dir), w.lock.Remove())
}

// sweepTmp removes the workspaces of processes that are no more.
func (s *Store) sweepTmp() error {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil || len(entries) == 0 {
		return err
	}
	guard, err := filelock.Try(s.path("locks/tmp"), filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil // somebody starts work right now; the next Open sweeps
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name, isLock := strings.CutSuffix(e.Name(), ".lock")
		name = strings.TrimSuffix(name, ".rm") // being removed, see layer.Remove
		errs = append(errs, s.sweep(s.path("tmp", name), isLock))
	}
	return errors.Join(append(errs, guard.Close())...)
}

func (s *Store) sweep(dir string, isLock bool) error {
	if _, err := os.Lstat(dir); isLock && err == nil {
		return nil // comes with its directory
	}
	lock, err := filelock.Try(dir+".lock", filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := layer.Remove(dir); err != nil {
		return errors.Join(err, lock.Close())
	}
	return lock.Remove()
}
