// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// ErrBusy reports that another command is at work in the store.
var ErrBusy = hint.New("another cpc command is using the image store",
	"Wait for it to end (a build, a pull, a load), or end it. Then try again.")

// Reset removes all that a store keeps in dir, damaged or not: images, unpacked
// layers of every mapping, the build cache, scratch space. It is no method, since
// a store that cannot be opened (no room, damage) is to be removed, too. Also
// are patterns of what others keep beside it; the directory itself goes if nothing
// else is in it, and left says what that is.
//
// Preconditions: U0, for the ids of the layers; no sandbox runs.
func Reset(ctx context.Context, dir string, also ...string) (left []string, err error) {
	lock, err := lockReset(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("reset %s: %w", dir, err)
	}
	if lock != nil {
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reset: %w", err)
	}
	// The locks last: what is at work waits for them until all is gone.
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(lastIf(a, "locks"), lastIf(b, "locks")) })
	kept := append([]string{"oci", "layers", "cache", "mounts", "scratch", "disks", "partial", "tmp", "locks"}, also...)
	var errs []error
	for _, e := range entries {
		if !matches(kept, strings.TrimSuffix(e.Name(), ".rm")) { // layer.Remove has such siblings
			left = append(left, filepath.Join(dir, e.Name()))
			continue
		}
		errs = append(errs, ctx.Err())
		if ctx.Err() == nil {
			errs = append(errs, layer.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return left, fmt.Errorf("reset: %w", err)
	}
	if len(left) > 0 {
		return left, nil
	}
	// A mount point stays, and what is below a directory of root's: empty.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EROFS) {
		return nil, fmt.Errorf("reset: %w", err)
	}
	return nil, nil
}

func lastIf(e fs.DirEntry, name string) string {
	if e.Name() == name {
		return "1"
	}
	return "0"
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := filepath.Match(p, name)
		return ok && err == nil
	})
}

// lockReset keeps other commands out; nil where there is nothing to lock.
func lockReset(ctx context.Context, dir string) (*filelock.Lock, error) {
	lock, err := filelock.Try(filepath.Join(dir, "locks", "gc"), filelock.Exclusive)
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return nil, ErrBusy
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return nil, ctx.Err()
	}
	return lock, err
}
