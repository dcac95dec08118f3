// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// Use keeps the image and its layers from being removed until release, or
// until the process ends. The error is ErrNotFound if it has been removed
// since img was read. Call it before Layers.
func (s *Store) Use(img *Image) (release func(), err error) {
	var locks []*filelock.Lock
	release = func() {
		for _, l := range locks {
			_ = l.Close() // a descriptor for reading: nothing to lose
		}
		locks = nil
	}
	// A removal holds these exclusively for an instant only.
	names := []string{s.imageLock(img.Digest)}
	for _, d := range img.Config.RootFS.DiffIDs {
		names = append(names, s.layerLock(d))
	}
	for _, name := range names {
		l, err := filelock.Acquire(context.Background(), name, filelock.Shared)
		if err != nil {
			release()
			return nil, fmt.Errorf("use image %s: %w", img.Digest, err)
		}
		locks = append(locks, l)
	}
	idx, err := s.Index()
	if err == nil && !HasManifest(idx, img.Index) && !IsThere(s, idx, img.Digest) {
		err = fmt.Errorf("%w: %s was removed meanwhile", ErrNotFound, img.Digest)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Hold keeps anything in the store from being collected until release. A
// build holds the store, since what it makes belongs to no image at first.
func (s *Store) Hold() (release func(), err error) {
	l, err := s.lockGC(context.Background())
	if err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil // a descriptor for reading: nothing to lose
}

// tryRemove takes a lock that users of an object hold shared. It returns nil
// without an error where one is held.
func tryRemove(path string) (*filelock.Lock, error) {
	l, err := filelock.Try(path, filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil, nil
	}
	return l, err
}

// InUse reports whether someone holds the image by Use.
func (s *Store) InUse(d digest.Digest) bool {
	if _, err := os.Stat(s.imageLock(d)); err != nil {
		return false
	}
	l, err := filelock.Try(s.imageLock(d), filelock.Exclusive)
	if err != nil {
		return true
	}
	err = l.Remove()
	return err != nil && !errors.Is(err, unix.EROFS)
}

// Unused takes the locks of manifests that nobody uses, until release: who removes
// them holds them while the index changes. The error is ErrInUse.
func (s *Store) Unused(manifests []digest.Digest) (release func() error, err error) {
	var locks []*filelock.Lock
	release = func() error {
		var errs []error
		for _, l := range locks {
			errs = append(errs, l.Remove())
		}
		return errors.Join(errs...)
	}
	for _, d := range manifests {
		lock, err := tryRemove(s.imageLock(d))
		if err == nil && lock == nil {
			err = fmt.Errorf("%w: a sandbox runs from it: stop that first", ErrInUse)
		}
		if err != nil {
			return nil, errors.Join(err, release())
		}
		locks = append(locks, lock)
	}
	return release, nil
}
