// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// linked tells which of the entries of one source are further names of files that
// came before. Those that are left out of a copy do not count.
type linked map[inode.Key]string

// first returns the name that came before; "" if there is none.
func (l linked) first(e *Entry, name string) string {
	if !e.Shared() {
		return ""
	}
	if before, ok := l[e.Key]; ok {
		return before
	}
	l[e.Key] = name
	return ""
}

// Contents copies what is in a directory, whose entry is the first of entries,
// into the directory dest. At the end it sets the times of the directories,
// deepest first, as writing into them changes these.
func (t *Writer) Contents(ctx context.Context, from *Tree, entries []Entry, dest string) error {
	known := linked{}
	for i := range entries[1:] {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		e := &entries[i+1]
		p := path.Join(dest, e.Rel)
		err := t.put(from, e, p, known.first(e, p))
		if err != nil {
			return wrote(p, err)
		}
	}
	for i := range slices.Backward(entries) {
		if e := &entries[i]; e.IsDir() {
			p := path.Join(dest, e.Rel)
			if err := t.Touch(p, e.Time); err != nil {
				return wrote(p, err)
			}
		}
	}
	return nil
}

// Put writes one entry of from to p, which has no symlinks on its way.
func (t *Writer) Put(from *Tree, e *Entry, p string) error { return t.put(from, e, p, "") }

// put is Put for an entry that is written already, as first, if that is not "".
func (t *Writer) put(from *Tree, e *Entry, p, first string) error {
	switch {
	case e.IsDir():
		return t.putDir(p, e)
	case first != "":
		if err := t.clear(p); err != nil {
			return err
		}
		return t.Root.Link(first, p)
	case !e.IsRegular():
		return t.putNode(p, e)
	}
	f, err := from.OpenFile(e)
	if err != nil {
		return err
	}
	return errors.Join(t.PutFile(p, e, f), f.Close())
}

func wrote(p string, err error) error { return fmt.Errorf("write /%s: %w", visible.Line(p), err) }

// Meter is told how many bytes were read since it was told last. A nil one is not.
type Meter func(n int64)

// metered is a reader that ends with its context.
type metered struct {
	io.Reader
	ctx   context.Context //nolint:containedctx // one file long
	meter Meter
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.Reader.Read(p)
	if m.meter != nil {
		m.meter(int64(n))
	}
	return n, err
}

// Digest adds all that a copy keeps of the entries of one source to a hash, but
// for times: a fresh checkout of the same files is the same. The meter is told of
// the content that is read.
func (t *Tree) Digest(ctx context.Context, h hash.Hash, entries []Entry, m Meter) error {
	known := linked{}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		e := &entries[i]
		first := known.first(e, "/"+e.Rel)
		Field(h, e.Rel, first)
		if first != "" {
			continue
		}
		if err := t.digestEntry(ctx, h, e, m); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) digestEntry(ctx context.Context, h hash.Hash, e *Entry, m Meter) error {
	sum, err := t.content(ctx, e, m)
	if err != nil {
		return err
	}
	Field(h, fmt.Sprintf("%o %d:%d %d", e.Mode, e.UID, e.GID, len(e.Attrs)), e.Link, string(sum))
	for _, name := range slices.Sorted(maps.Keys(e.Attrs)) {
		Field(h, name, e.Attrs[name])
	}
	return nil
}

// content returns the digest of a file's bytes and completes its entry.
func (t *Tree) content(ctx context.Context, e *Entry, m Meter) ([]byte, error) {
	switch {
	case e.Type() != unix.S_IFREG:
		return nil, nil
	case e.Sum != "":
		return hex.DecodeString(e.Sum.Encoded())
	}
	f, err := t.OpenFile(e)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, &metered{Reader: f, ctx: ctx, meter: m})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", visible.Line(e.Path), err)
	}
	return sum.Sum(nil), nil
}

// Field writes strings so that no two lists of them hash alike.
func Field(h hash.Hash, values ...string) {
	for _, v := range values {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(v)))
		h.Write(n[:])
		io.WriteString(h, v) //nolint:errcheck // a hash never fails
	}
}
