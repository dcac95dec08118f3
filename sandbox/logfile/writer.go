// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package logfile keeps the output of a sandbox on disk, byte for byte, within
// a fixed size whatever the sandbox prints.
//
// A log is a sequence of entries: a header line "TIME STREAM LENGTH\n" with the
// time in RFC 3339, the stream as "stdout" or "stderr" and the length in bytes;
// that many bytes; and "\n". When the current file is full it becomes the
// previous one and the one before that is dropped.
package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// MaxFile is the size in bytes at which a file is full. A log takes at most
// two files and one entry.
const MaxFile = 8 << 20

const (
	current  = "log"
	previous = "log.1"
)

// Stream names for entries.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Writer appends entries. It is safe for use by several goroutines.
type Writer struct {
	dir string

	mu   sync.Mutex // guards what follows
	f    *os.File
	size int64
	buf  []byte
}

// Create starts an empty log in dir.
func Create(dir string) (*Writer, error) {
	w := &Writer{dir: dir}
	return w, w.open()
}

func (w *Writer) open() error {
	f, err := ownfile.OpenFile(filepath.Join(w.dir, current), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	w.f, w.size = f, 0
	return nil
}

// Append adds one entry.
func (w *Writer) Append(stream string, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return os.ErrClosed
	}
	if w.size >= MaxFile {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	w.buf = time.Now().UTC().AppendFormat(w.buf[:0], time.RFC3339Nano)
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, stream...)
	w.buf = append(w.buf, ' ')
	w.buf = strconv.AppendInt(w.buf, int64(len(p)), 10)
	w.buf = append(w.buf, '\n')
	w.buf = append(w.buf, p...)
	w.buf = append(w.buf, '\n')
	n, err := w.f.Write(w.buf)
	w.size += int64(n)
	if err != nil && n > 0 {
		// A torn entry would make the rest unreadable.
		undone := w.f.Truncate(w.size - int64(n))
		err = errors.Join(err, undone)
		w.size -= int64(n)
	}
	return err
}

func (w *Writer) rotate() error {
	err := w.f.Close()
	w.f = nil
	if err == nil {
		err = os.Rename(filepath.Join(w.dir, current), filepath.Join(w.dir, previous)) //nolint:forbidigo // a rotation: the file moves, it is not replaced
	}
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return w.open()
}

// Close ends the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}
