// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// idPattern is what a sandbox id looks like.
var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Leftovers are what monitors that died have left.
type Leftovers struct {
	// Entries are sandboxes without a monitor that have not ended properly.
	Entries []*Entry
	// Orphans are ids that have files in the data directory and no record,
	// as after a reboot, which empties the state directory.
	Orphans []string
	// Steps are ids of build steps whose builder died.
	Steps []string
}

// Empty reports whether there is nothing to clean up.
func (l Leftovers) Empty() bool {
	return len(l.Entries) == 0 && len(l.Orphans) == 0 && len(l.Steps) == 0
}

// Stale finds what nobody looks after. It takes no lock: a sandbox that is
// just being made may be among the result, so Claim each under Sweep.
func (s Set) Stale() (Leftovers, error) {
	l, err := s.stale()
	if err != nil {
		return l, err
	}
	builds, held, err := s.staleBuilds()
	if held != nil {
		_ = held.Close()
	}
	l.Orphans = append(l.Orphans, builds...)
	return l, err
}

// stale is Stale without what builds have left.
func (s Set) stale() (Leftovers, error) {
	all, err := s.List()
	if err != nil {
		return Leftovers{}, err
	}
	var l Leftovers
	var known []string
	for _, e := range all {
		known = append(known, e.Record.ID)
		if e.Record.Status != Exited && e.abandoned() {
			l.Entries = append(l.Entries, e)
		}
	}
	for _, place := range []string{"sandboxes", "scratch"} {
		ids, err := os.ReadDir(filepath.Join(s.Dirs.Data, place))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return l, err
		}
		for _, d := range ids {
			id := d.Name()
			if idPattern.MatchString(id) && !slices.Contains(known, id) && !slices.Contains(l.Orphans, id) {
				l.Orphans = append(l.Orphans, id)
			}
		}
	}
	l.Steps, err = s.staleSteps()
	return l, err
}

// Cleaner removes what is left of one thing that nobody looks after.
type Cleaner interface {
	// Sandbox cleans up after a sandbox, whose lock is held meanwhile.
	Sandbox(e *Entry) error
	// Orphan removes files of a sandbox without a record.
	Orphan(id string) error
	// Step cleans up after a build step; note is what AddStep was given with this id.
	Step(id string, note []byte) error
}

// Sweep has c clean up all that nobody looks after, while no sandbox can be
// made. It goes on after errors and returns them joined.
func (s Set) Sweep(c Cleaner) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	builds, held, err := s.staleBuilds()
	if held != nil {
		defer held.Close() // no build starts meanwhile
	}
	l, staleErr := s.stale()
	err = errors.Join(err, staleErr)
	l.Orphans = append(l.Orphans, builds...)
	for _, e := range l.Entries {
		held, claimErr := e.Claim()
		switch {
		case errors.Is(claimErr, os.ErrNotExist), ownfile.IsStray(claimErr):
			// It died before it had a lock, or what has the lock's name is none.
		case claimErr != nil:
			err = errors.Join(err, claimErr)
			continue
		case held == nil:
			continue
		}
		swept := c.Sandbox(e)
		err = errors.Join(err, swept)
		if held != nil {
			err = errors.Join(err, held.Close())
		}
	}
	for _, id := range l.Orphans {
		swept := c.Orphan(id)
		err = errors.Join(err, swept)
	}
	for _, id := range l.Steps {
		err = errors.Join(err, s.sweepStep(id, c))
	}
	return err
}
