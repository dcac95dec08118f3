// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
)

// firstDir, below LogDir, has a copy of a log's first decisions, which a full
// log would lose, up to maxFirst bytes.
const (
	firstDir = "first"
	maxFirst = 1 << 20
)

// sumsFile, below LogDir, has what each destination has had until a moment ago. A
// log that was closed has none: it is for that of a monitor that was killed.
const sumsFile = "sums"

// Log keeps decisions: the first, and the latest. Its methods are not safe for
// concurrent use.
type Log struct {
	dir        string
	all, first *logfile.Writer
	room       int
}

// CreateLog starts a log in dir, which exists.
func CreateLog(dir string) (*Log, error) {
	at := filepath.Join(dir, firstDir)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, fmt.Errorf("network log: %w", err)
	}
	l := &Log{dir: dir, room: maxFirst}
	err := l.dropSums()
	if err != nil {
		return nil, err
	}
	if l.all, err = logfile.Create(dir); err != nil {
		return nil, err
	}
	if l.first, err = logfile.Create(at); err != nil {
		return nil, errors.Join(err, l.all.Close())
	}
	return l, nil
}

// Append adds a decision. A full disk loses it.
func (l *Log) Append(e event.Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	_ = l.all.Append(logfile.Stdout, line)
	// The copy is the later one, by which ReadLog tells.
	if l.room -= len(line); l.room >= 0 {
		_ = l.first.Append(logfile.Stdout, line)
	}
}

// Sums replaces what is kept of each destination. Unlike the other methods it may
// be called beside them. A full disk leaves what there was.
func (l *Log) Sums(all []event.Event) {
	_ = atomicfile.Replace(filepath.Join(l.dir, sumsFile), atomicfile.Options{Volatile: true}, func(f *os.File) error {
		w := bufio.NewWriter(f)
		to := json.NewEncoder(w)
		for _, e := range all {
			if err := to.Encode(e); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}

func (l *Log) dropSums() error {
	if err := os.Remove(filepath.Join(l.dir, sumsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network log: %w", err)
	}
	return nil
}

// Close ends the log, which has everything.
func (l *Log) Close() error { return errors.Join(l.all.Close(), l.first.Close(), l.dropSums()) }

// ReadSums calls each with what destinations have had, if the monitor that kept
// the log in dir was killed. It is to be called for a sandbox that has ended.
func ReadSums(dir string, each func(event.Event) error) error {
	f, err := ownfile.Open(filepath.Join(dir, sumsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for from := json.NewDecoder(bufio.NewReader(f)); ; {
		var e event.Event
		if err := from.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		e.Reason = "until the monitor was killed"
		if err := each(e); err != nil {
			return err
		}
	}
}

// ReadLog calls each with the decisions that are kept in dir, in order, and goes
// on with those that come until ended reports that there will be none.
func ReadLog(ctx context.Context, dir string, ended func() bool, each func(event.Event) error) error {
	give := func(l logfile.Entry) error {
		var d event.Event
		if err := json.Unmarshal(l.Data, &d); err != nil {
			return err
		}
		return each(d)
	}
	var oldest time.Time
	return logfile.Follow(ctx, dir, ended, func(l logfile.Entry) error {
		if oldest.IsZero() {
			oldest = l.Time
			if err := readFirst(filepath.Join(dir, firstDir), oldest, give); err != nil {
				return err
			}
		}
		return give(l)
	})
}

// readFirst gives what the log has lost: the copies of what was written before
// the oldest that it has.
func readFirst(dir string, oldest time.Time, give func(logfile.Entry) error) error {
	err := logfile.Read(dir, func(l logfile.Entry) error {
		if l.Time.Before(oldest) {
			return give(l)
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil // of an earlier cpc
	}
	return err
}
