// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
)

// firstDir, below LogDir, has a copy of a log's first decisions, which a full
// log would lose, up to maxFirst bytes.
const (
	firstDir = "first"
	maxFirst = 1 << 20
)

// Log keeps decisions: the first, and the latest. Its methods are not safe for
// concurrent use.
type Log struct {
	all, first *logfile.Writer
	room       int
}

// CreateLog starts a log in dir, which exists.
func CreateLog(dir string) (*Log, error) {
	at := filepath.Join(dir, firstDir)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, fmt.Errorf("network log: %w", err)
	}
	l := &Log{room: maxFirst}
	var err error
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

// Close ends the log.
func (l *Log) Close() error { return errors.Join(l.all.Close(), l.first.Close()) }

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
