// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

var (
	// ErrNotFound reports that no sandbox has the name or id.
	ErrNotFound = hint.New("no such sandbox",
		"List the sandboxes with: cpc ps -a")
	// ErrNameInUse reports that another sandbox has the name.
	ErrNameInUse = hint.New("name is in use",
		"Use another --name, or remove the other sandbox with: cpc rm -f NAME")
	// ErrAmbiguous reports an id prefix that several sandboxes share.
	ErrAmbiguous = hint.New("more than one sandbox has an id that begins so",
		"Use more characters of the id. List the sandboxes with: cpc ps -a")
)

// Set is all sandboxes of one user.
type Set struct{ Dirs dirs.Dirs }

func (s Set) root() string { return filepath.Join(s.Dirs.State, "sandboxes") }

// Entry is one sandbox's place on disk.
type Entry struct {
	Record *Record
	// Dir holds the record, the lock, the socket, the bundle and the
	// runtime's state. It goes with the sandbox.
	Dir string
	// DataDir holds the log.
	DataDir string
}

// Entry returns the place of the sandbox with this full id.
func (s Set) Entry(r *Record) *Entry {
	return &Entry{Record: r, Dir: filepath.Join(s.root(), r.ID), DataDir: filepath.Join(s.Dirs.Data, "sandboxes", r.ID)}
}

// Save writes the record.
func (e *Entry) Save() error { return e.Record.write(e.Dir) }

// NewID returns a fresh sandbox id: 32 random bytes in hexadecimal.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// Add makes the directories of a new sandbox and reserves its name. The
// returned file holds the sandbox's lock; closing the last copy of it, in this
// process or in a child that inherited it, marks the sandbox as unattended.
func (s Set) Add(r *Record) (*Entry, *os.File, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	all, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	for _, other := range all {
		if other.Record.Name == r.Name {
			return nil, nil, fmt.Errorf("%w: %s (sandbox %s)", ErrNameInUse, r.Name, Short(other.Record.ID))
		}
	}
	e := s.Entry(r)
	held, err := e.create()
	if err != nil {
		return nil, nil, errors.Join(err, e.Delete())
	}
	return e, held, nil
}

func (e *Entry) create() (*os.File, error) {
	for _, dir := range []string{e.Dir, e.DataDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create sandbox: %w", err)
		}
	}
	held, err := ownfile.OpenFile(filepath.Join(e.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create sandbox: %w", err)
	}
	// Nobody holds a new sandbox's lock, but Attended tries it for an instant.
	if err := flock(held); err != nil {
		return nil, errors.Join(fmt.Errorf("lock sandbox: %w", err), held.Close())
	}
	if err := e.Save(); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

// Delete removes the sandbox's directories. Files of other ids than the
// caller's must be gone already.
func (e *Entry) Delete() error {
	return errors.Join(os.RemoveAll(e.DataDir), os.RemoveAll(e.Dir))
}

// stray returns a StrayError where the sandbox's directory is something else.
func (e *Entry) stray() error {
	if info, err := os.Lstat(e.Dir); err == nil && !info.IsDir() {
		return &ownfile.StrayError{Path: e.Dir, What: "not a directory"}
	}
	return nil
}

// LockFile is what the sandbox's monitor, and nobody else, has open for as long
// as it lives.
func (e *Entry) LockFile() string { return filepath.Join(e.Dir, lockFile) }

// Attended reports whether a process still looks after the sandbox.
func (e *Entry) Attended() bool {
	if e.stray() != nil {
		return false // it leads to another's lock, maybe
	}
	f, err := ownfile.Open(e.LockFile())
	if ownfile.IsStray(err) || errors.Is(err, os.ErrNotExist) {
		return e.answers() // a monitor's lock may have been taken away from its name
	}
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// answers reports whether a monitor listens.
func (e *Entry) answers() bool {
	c, err := e.Dial()
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was asked
	return true
}

// Claim takes over an unattended sandbox, to clean up after it. It returns nil
// when another process has it.
func (e *Entry) Claim() (*os.File, error) {
	if err := e.stray(); err != nil {
		return nil, err
	}
	f, err := ownfile.OpenFile(e.LockFile(), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // documented: somebody else has it
	}
	return nil, fmt.Errorf("lock sandbox: %w", err)
}

// List returns all sandboxes, newest first. What has an id for its name and no
// readable record is listed by id alone, as dead, so that it can be removed. Other
// names are not cpc's: see Strays.
func (s Set) List() ([]*Entry, error) {
	names, err := os.ReadDir(s.root())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var all []*Entry
	for _, d := range names {
		if !idPattern.MatchString(d.Name()) {
			continue
		}
		at := filepath.Join(s.root(), d.Name())
		r, err := read(at)
		if stray := (&Entry{Dir: at}).stray(); stray != nil {
			err = stray
		}
		if err != nil {
			r = &Record{ID: d.Name(), Status: Dead, Outcome: Outcome{Error: err.Error()}}
		}
		all = append(all, s.Entry(r))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Record.Created.After(all[j].Record.Created) })
	return all, nil
}

// Strays returns what is in the directories of sandboxes and steps and has a name
// that cpc does not give. It is in nobody's way, and is left alone.
func (s Set) Strays() ([]string, error) {
	var strays []string
	for _, dir := range []string{s.root(), s.steps()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return strays, err
		}
		for _, d := range entries {
			if !idPattern.MatchString(d.Name()) {
				strays = append(strays, filepath.Join(dir, d.Name()))
			}
		}
	}
	return strays, nil
}

// Find returns the sandbox with this name, id, or unique beginning of an id.
func (s Set) Find(name string) (*Entry, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, name)
	}
	return e, nil
}

func (s Set) find(name string) (*Entry, error) {
	if name == "" {
		return nil, ErrNotFound
	}
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	var match []*Entry
	for _, e := range all {
		if e.Record.Name == name || e.Record.ID == name {
			return e, nil
		}
		if strings.HasPrefix(e.Record.ID, name) {
			match = append(match, e)
		}
	}
	switch len(match) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return match[0], nil
	}
	return nil, ErrAmbiguous
}

// Short is the beginning of an id that people are shown.
func Short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// lock serialises changes to the set of sandboxes.
func (s Set) lock() (func(), error) {
	if err := os.MkdirAll(s.root(), 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", s.root(), err)
	}
	f, err := ownfile.OpenFile(filepath.Join(s.Dirs.State, "names.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock names: %w", err)
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock names: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// flock waits for the exclusive lock of a file.
func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
