// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Entry is one piece of output.
type Entry struct {
	Time   time.Time
	Stream string
	Data   []byte
}

// poll is how often a follower looks for more.
const poll = 50 * time.Millisecond

const (
	maxHeader = 128
	maxEntry  = 1 << 20
)

// Read calls each with every entry in order, the previous file's first.
func Read(dir string, each func(Entry) error) error {
	_, err := readAll(dir, each)
	return err
}

// Follow is Read that goes on until ended reports that nothing more will be
// written, or ctx is done. What was written before the end is always read.
func Follow(ctx context.Context, dir string, ended func() bool, each func(Entry) error) error {
	f, err := readAll(dir, each)
	if err != nil {
		return err
	}
	for {
		last := ended() // asked before reading, so that the end misses nothing
		if f, err = f.more(each); err != nil {
			return err
		}
		if last {
			return f.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), f.Close())
		case <-time.After(poll):
		}
	}
}

// Tail returns the last n entries' worth of lines: it calls each with entries
// cut such that only the last n lines are seen.
func Tail(dir string, n int, each func(Entry) error) error {
	var kept []Entry
	lines := 0
	err := Read(dir, func(e Entry) error {
		e.Data = append([]byte(nil), e.Data...)
		kept = append(kept, e)
		lines += strings.Count(string(e.Data), "\n")
		for len(kept) > 1 {
			first := strings.Count(string(kept[0].Data), "\n")
			if lines-first < n+1 {
				break
			}
			lines -= first
			kept = kept[1:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range lastLines(kept, n) {
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

// lastLines drops what comes before the last n lines. A last line without a
// newline counts as one.
func lastLines(entries []Entry, n int) []Entry {
	if n <= 0 {
		return nil
	}
	want := n
	for i := len(entries) - 1; i >= 0; i-- {
		data := entries[i].Data
		end := len(data)
		if i == len(entries)-1 && end > 0 && data[end-1] == '\n' {
			end--
		}
		for end > 0 {
			at := strings.LastIndexByte(string(data[:end]), '\n')
			if at < 0 {
				break
			}
			if want--; want == 0 {
				entries[i].Data = data[at+1:]
				return entries[i:]
			}
			end = at
		}
	}
	return entries
}

// follower is an open log file at a position between entries.
type follower struct {
	*os.File
	dir string
}

func readAll(dir string, each func(Entry) error) (*follower, error) {
	if old, err := ownfile.Open(filepath.Join(dir, previous)); err == nil {
		err = entries(old, each)
		_ = old.Close()
		if err != nil {
			return nil, err
		}
	}
	f, err := ownfile.Open(filepath.Join(dir, current))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	fl := &follower{File: f, dir: dir}
	if err := entries(f, each); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return fl, nil
}

// more reads on, and moves to the new file after a rotation.
func (f *follower) more(each func(Entry) error) (*follower, error) {
	for {
		next, err := ownfile.Open(filepath.Join(f.dir, current))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return f, errors.Join(fmt.Errorf("log: %w", err), f.Close())
		}
		// The old file is read after the new one is seen, so it is complete.
		if err := entries(f.File, each); err != nil {
			return f, errors.Join(err, f.Close())
		}
		if next == nil || sameFile(f.File, next) {
			if next != nil {
				_ = next.Close()
			}
			return f, nil
		}
		_ = f.Close()
		f = &follower{File: next, dir: f.dir}
	}
}

func sameFile(a, b *os.File) bool {
	ai, errA := a.Stat()
	bi, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(ai, bi)
}

// entries reads whole entries and leaves the file behind the last one.
func entries(f *os.File, each func(Entry) error) error {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	r := bufio.NewReader(f)
	for {
		e, n, err := next(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			_, err = f.Seek(at, io.SeekStart) // nothing more, or an entry that is being written
			return err
		}
		if err != nil {
			return fmt.Errorf("log %s: at byte %d: %w", f.Name(), at, err)
		}
		at += n
		if err := each(e); err != nil {
			return err
		}
	}
}

func next(r *bufio.Reader) (e Entry, n int64, err error) {
	head, err := r.ReadSlice('\n')
	if err != nil {
		return e, 0, err
	}
	if len(head) > maxHeader {
		return e, 0, errors.New("header too long")
	}
	n = int64(len(head))
	fields := strings.Fields(string(head))
	if len(fields) != 3 {
		return e, 0, fmt.Errorf("bad header %q", head)
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil || size < 0 || size > maxEntry {
		return e, 0, fmt.Errorf("bad length %q", fields[2])
	}
	if e.Time, err = time.Parse(time.RFC3339Nano, fields[0]); err != nil {
		return e, 0, err
	}
	e.Stream = fields[1]
	e.Data = make([]byte, size+1)
	if _, err := io.ReadFull(r, e.Data); err != nil {
		return e, 0, io.ErrUnexpectedEOF
	}
	e.Data = e.Data[:size]
	return e, n + int64(size) + 1, nil
}
