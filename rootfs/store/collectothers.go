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
	"syscall"
)

// collectOthers removes the layers that were unpacked for another mapping of ids,
// for example before the caller had a range of subordinate ids. What is in use
// stays, and what belongs to ids that this process does not have.
func collectOthers(ctx context.Context, s *Store) (err error) {
	others, err := otherVariants(s)
	if err != nil || len(others) == 0 {
		return err
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for i, dir := range others {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not this caller's
		}
		for _, e := range entries {
			if err := collectOther(s, dir, e.Name(), w.path(fmt.Sprintf("%d-%s", i, e.Name()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// collectOther takes a layer of another variant out of sight, if that may be.
func collectOther(s *Store, dir, name, to string) error {
	from := filepath.Join(dir, name)
	if !owned(from) {
		return nil
	}
	lock, err := tryRemove(s.path("locks", "layer-"+name))
	if err != nil || lock == nil {
		return err // nil: a sandbox uses it
	}
	err = os.Rename(from, to)
	return errors.Join(err, lock.Remove())
}

// otherVariants returns the directories with layers of other mappings.
func otherVariants(s *Store) ([]string, error) {
	// The directories stay: a process outside of U0 has one of its own, too.
	entries, err := os.ReadDir(s.path("layers"))
	var out []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != s.variant {
			out = append(out, s.path("layers", e.Name()))
		}
	}
	return out, err
}

// owned reports whether all of a tree belongs to ids that this process has. Those
// it does not have are shown as overflowID, which may also be an image's nobody.
func owned(dir string) bool {
	const overflowID = 65534
	return filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || os.Getuid() != 0 || st.Uid == overflowID || st.Gid == overflowID {
			return fs.ErrPermission
		}
		return nil
	}) == nil
}
