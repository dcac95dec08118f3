// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package journal keeps what happened to sandboxes, as lines of JSON in docker's
// shape, in two files of a directory: when one is full it becomes the former
// one, so the size is bounded and the latest are always there. That of one sandbox
// keeps its first events besides, and that of all sandboxes the first of each.
//
// There is one journal for all sandboxes of a user, which `cpc events` reads, and
// one beside each sandbox's log, which goes with it. Any process of the user may
// append; a lock on the file keeps lines whole and in order. A reader takes no
// lock.
package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// Event is one thing that happened. Names and order are docker's.
type Event struct {
	Status   string `json:"status"` // the action
	ID       string `json:"id"`     // of the sandbox
	From     string `json:"from"`   // image
	Type     string `json:"Type"`   // container
	Action   string `json:"Action"`
	Actor    Actor  `json:"Actor"`
	Scope    string `json:"scope"`
	Time     int64  `json:"time"` // seconds since 1970
	TimeNano int64  `json:"timeNano"`
}

// Actor is what it happened to.
type Actor struct {
	ID         string            `json:"ID"`
	Attributes map[string]string `json:"Attributes"`
}

// At is when it happened.
func (e Event) At() time.Time { return time.Unix(0, e.TimeNano) }

// Bounds of what a sandbox's labels and the like may make of an event.
const (
	maxAttributes = 64
	maxValue      = 1 << 10
	maxLine       = 256 << 10
)

// New returns an event of a sandbox, with docker's attributes and further ones.
func New(r *record.Record, action string, more map[string]string) Event {
	now := time.Now()
	attributes := map[string]string{}
	for k, v := range r.Asked.Labels {
		if len(attributes) < maxAttributes {
			attributes[k] = v
		}
	}
	attributes["image"], attributes["name"] = r.Asked.Image, r.Name
	maps.Copy(attributes, more)
	for k, v := range attributes {
		if len(v) > maxValue {
			attributes[k] = v[:maxValue]
		}
	}
	return Event{
		Status: action, ID: r.ID, From: r.Asked.Image, Type: "container", Action: action, Scope: "local",
		Actor: Actor{ID: r.ID, Attributes: attributes}, Time: now.Unix(), TimeNano: now.UnixNano(),
	}
}

// Journal is a directory with events.
type Journal struct {
	Dir string
	// Max is how many bytes the two files have together, about.
	Max int64
	// First keeps the first file as well, whatever comes later.
	First bool
	// Few keeps so many of each sandbox's first events, and its removal, of what
	// would be lost, within one partFew-th of Max.
	Few int
}

// partFew is the share of the first events of all sandboxes.
const partFew = 8

// Sizes of the two kinds of journals.
const (
	maxCommon = 8 << 20
	maxOwn    = 256 << 10
	fewOfEach = 4 // create, start, and what came of it
)

// Common is the journal of all sandboxes.
func Common(s record.Set) Journal {
	return Journal{Dir: filepath.Join(s.Dirs.State, "events"), Max: maxCommon, Few: fewOfEach}
}

// Of is the journal of one sandbox.
func Of(e *record.Entry) Journal {
	return Journal{Dir: filepath.Join(e.DataDir, "events"), Max: maxOwn, First: true}
}

const current, former, first = "events", "events.1", "events.0"

// Append adds an event.
func (j Journal) Append(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if len(line) > maxLine {
		return fmt.Errorf("journal: an event of %d bytes is too large", len(line))
	}
	if err := os.MkdirAll(j.Dir, 0o700); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f, err := j.open(int64(len(line) + 1))
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// open returns the current file, locked, with room for more.
func (j Journal) open(more int64) (*os.File, error) {
	path := filepath.Join(j.Dir, current)
	for {
		f, err := ownfile.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		have, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		now, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist), err == nil && !os.SameFile(have, now): // full, and another noticed
		case err != nil:
			return nil, errors.Join(err, f.Close())
		case have.Size()+more <= j.Max/2 || have.Size() == 0:
			return f, nil
		default:
			if err := j.rotate(path); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// rotate makes the current file the former one.
func (j Journal) rotate(path string) error {
	if j.Few > 0 {
		if err := j.keepFew(); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(filepath.Join(j.Dir, first)); j.First && errors.Is(err, os.ErrNotExist) {
		err := os.Rename(filepath.Join(j.Dir, former), filepath.Join(j.Dir, first)) //nolint:forbidigo // a rotation: the file moves, it is not replaced
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, filepath.Join(j.Dir, former)) //nolint:forbidigo // as above
}

func lock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Read calls each with every event that is kept, in order.
func (j Journal) Read(each func(Event) error) error {
	r, err := j.read(each)
	return errors.Join(err, r.close())
}

// poll is how often a follower looks for more.
const poll = 50 * time.Millisecond

// Follow is Read that goes on until ctx is done, which is no error.
func (j Journal) Follow(ctx context.Context, each func(Event) error) error {
	r, err := j.read(each)
	for err == nil {
		select {
		case <-ctx.Done():
			return errors.Join(r.more(each), r.close())
		case <-time.After(poll):
			err = r.more(each)
		}
	}
	return errors.Join(err, r.close())
}

// read is Read that leaves the current file open, for more.
func (j Journal) read(each func(Event) error) (*reader, error) {
	r := &reader{dir: j.Dir}
	for _, name := range []string{first, former, current} {
		f, err := ownfile.Open(filepath.Join(j.Dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return r, fmt.Errorf("journal: %w", err)
		}
		err = r.close()
		r.open(f)
		if err == nil {
			err = r.rest(each)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// reader reads the current file, and the next when that is full.
type reader struct {
	dir  string
	file *os.File // nil: there was none yet
	in   *bufio.Reader
	part []byte // of a line that is being written
}

func (r *reader) open(f *os.File) {
	r.file, r.in, r.part = f, bufio.NewReader(f), nil
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// more reads what has come.
func (r *reader) more(each func(Event) error) error {
	for {
		now, err := ownfile.Open(filepath.Join(r.dir, current))
		if errors.Is(err, os.ErrNotExist) {
			return r.rest(each)
		}
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		if r.same(now) {
			return errors.Join(r.rest(each), now.Close())
		}
		// Nothing is added to the one that we have any more.
		err = errors.Join(r.rest(each), r.close())
		r.open(now)
		if err != nil {
			return err
		}
	}
}

func (r *reader) same(f *os.File) bool {
	if r.file == nil {
		return false
	}
	a, errA := r.file.Stat()
	b, errB := f.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// rest reads to the end of the file. A line that makes no sense, as after a
// power cut, is left out.
func (r *reader) rest(each func(Event) error) error {
	if r.file == nil {
		return nil
	}
	for {
		line, err := r.in.ReadSlice('\n')
		if len(r.part)+len(line) <= maxLine+1 {
			r.part = append(r.part, line...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("journal: %w", err)
		}
		var e Event
		whole := r.part
		r.part = r.part[:0]
		if json.Unmarshal(whole, &e) != nil || e.Action == "" {
			continue
		}
		if err := each(e); err != nil {
			return err
		}
	}
}
