// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// A build step is a sandbox that nobody attaches to. All that outlives a
// builder that dies is the step's cgroup, so there is one file per step: it
// says what to remove, and its lock says whether the builder still lives.

// maxNote bounds what is noted of a step.
const maxNote = 1 << 20

func (s Set) steps() string { return filepath.Join(s.Dirs.State, "steps") }

// AddStep notes a build step before it is begun. The returned function is
// called when nothing of the step is left.
func (s Set) AddStep(id string, note []byte) (done func() error, err error) {
	if err := os.MkdirAll(s.steps(), 0o700); err != nil {
		return nil, fmt.Errorf("note step: %w", err)
	}
	file := filepath.Join(s.steps(), id)
	unlock, err := s.lock() // a sweep must not see the file before it is locked
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("note step: %w", err)
	}
	_, err = f.Write(note)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("note step: %w", err), f.Close(), os.Remove(file))
	}
	return func() error { return errors.Join(os.Remove(file), f.Close()) }, nil
}

// HoldBuild notes that a build is under way, until the file is closed: scratch
// directories of builds are garbage when nobody holds it.
func (s Set) HoldBuild() (*os.File, error) { return s.buildLock(unix.LOCK_SH) }

// buildLock returns nil, nil if how includes LOCK_NB and others hold it.
func (s Set) buildLock(how int) (*os.File, error) {
	if err := os.MkdirAll(s.Dirs.State, 0o700); err != nil {
		return nil, fmt.Errorf("lock builds: %w", err)
	}
	f, err := ownfile.OpenFile(filepath.Join(s.Dirs.State, "builds.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock builds: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, f.Close()
		}
		return nil, errors.Join(fmt.Errorf("lock builds: %w", err), f.Close())
	}
}

// staleBuilds lists the scratch directories of builds that died. The caller
// keeps the returned file open until it has removed them.
func (s Set) staleBuilds() (ids []string, held *os.File, err error) {
	entries, err := os.ReadDir(filepath.Join(s.Dirs.Data, "scratch"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("list scratch: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "build-") {
			ids = append(ids, strings.TrimSuffix(e.Name(), ".rm"))
		}
	}
	if len(ids) == 0 {
		return nil, nil, nil
	}
	if held, err = s.buildLock(unix.LOCK_EX | unix.LOCK_NB); held == nil {
		return nil, nil, err
	}
	return ids, held, nil
}

// staleSteps lists the steps whose builder is gone.
func (s Set) staleSteps() ([]string, error) {
	entries, err := os.ReadDir(s.steps())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list steps: %w", err)
	}
	var stale []string
	for _, e := range entries {
		if idPattern.MatchString(e.Name()) && free(filepath.Join(s.steps(), e.Name())) {
			stale = append(stale, e.Name())
		}
	}
	return stale, nil
}

// free reports whether no process holds the lock of a step's file. What is no file
// of the user's is nobody's.
func free(file string) bool {
	f, err := ownfile.Open(file)
	if err != nil {
		return ownfile.IsStray(err)
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

func (s Set) sweepStep(id string, c Cleaner) error {
	file := filepath.Join(s.steps(), id)
	note, err := ownfile.Read(file, maxNote)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case ownfile.IsStray(err): // then the step is not known
		return os.RemoveAll(file)
	case err != nil:
		return fmt.Errorf("step %s: %w", Short(id), err)
	}
	if err := c.Step(id, note); err != nil {
		return fmt.Errorf("step %s: %w", Short(id), err)
	}
	return os.Remove(file)
}
