// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// digestSources is what the cache goes by: names, kinds, modes, owners, link
// targets and bytes, but no times.
func digestSources(ctx context.Context, sources []source) (string, error) {
	h := sha256.New()
	for i := range sources {
		s := &sources[i]
		field(h, s.base)
		if s.inline != nil {
			field(h, "inline", s.inline.Data)
			continue
		}
		field(h, fmt.Sprint(s.isDir(), s.archive, len(s.entries)))
		if s.id != "" {
			field(h, "id", s.id)
			continue
		}
		for j := range s.entries {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			if err := s.digestEntry(h, &s.entries[j]); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), nil
}

func (s *source) digestEntry(h hash.Hash, e *entry) error {
	field(h, e.rel, e.mode.String(), fmt.Sprint(e.owner.uid, e.owner.gid), e.link)
	if !e.mode.IsRegular() {
		return nil
	}
	if e.sum != "" {
		sum, err := hex.DecodeString(e.sum.Encoded())
		if err == nil {
			_, err = h.Write(sum)
		}
		return err
	}
	f, err := s.tree.root.Open(e.path)
	if err != nil {
		return fmt.Errorf("%s: %w", visible(e.path), err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", visible(e.path), err)
	}
	_, err = h.Write(sum.Sum(nil))
	return err
}

// field writes strings so that no two lists of them hash alike.
func field(h hash.Hash, values ...string) {
	for _, v := range values {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(v)))
		h.Write(n[:])
		io.WriteString(h, v) //nolint:errcheck // a hash never fails
	}
}

// copier copies the sources of one COPY or ADD.
type copier struct {
	op     *copyOp
	target *target
	// staging is a directory for unpacking archives; clamp, if not zero, is
	// the latest time a file may have.
	staging string
	clamp   time.Time
	ctx     context.Context //nolint:containedctx // one operation long
}

// copy puts every source where docker would. A destination written with a
// slash, that is a directory, or that takes a directory's contents is one.
func (c *copier) copy(sources []source) error {
	isDir := c.op.IsDir
	if !isDir {
		var err error
		if isDir, err = c.target.isDir(c.op.Dest); err != nil {
			return err
		}
	}
	files := 0
	for i := range sources {
		if !sources[i].archive && !sources[i].isDir() {
			files++
		}
	}
	if files > 1 && !isDir {
		return withHint(fmt.Errorf("%d files match, but the destination %s is not a directory", files, visible(c.op.Dest)),
			"write the destination with a slash at its end")
	}
	for i := range sources {
		if err := c.copyOne(&sources[i], isDir); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) copyOne(s *source, isDir bool) error {
	switch {
	case s.archive:
		dest, err := c.target.mkdirAll(c.op.Dest)
		if err != nil {
			return err
		}
		return c.unpack(s, dest)
	case s.isDir():
		dest, err := c.target.mkdirAll(c.op.Dest)
		if err != nil {
			return err
		}
		return c.contents(s, dest)
	}
	p := c.op.Dest
	if isDir {
		p = path.Join(p, s.base)
	}
	if _, err := c.target.mkdirAll(path.Dir(p)); err != nil {
		return err
	}
	resolved, err := c.target.resolve(p)
	if err != nil {
		return err
	}
	// What a symlink stands for may lie where no directory is yet.
	if _, err := c.target.mkdirAll(path.Dir(resolved)); err != nil {
		return err
	}
	if s.inline != nil {
		e := entry{mode: 0o644, mtime: c.time(time.Now())}
		return named(p, c.target.putFile(resolved, e, strings.NewReader(s.inline.Data)))
	}
	return named(p, c.put(s.tree, s.entries[0], resolved))
}

func named(p string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write %s: %w", visible(p), err)
}

// contents copies what is in a directory into dest, then sets the times of the
// directories, deepest first, as writing into them changes these.
func (c *copier) contents(s *source, dest string) error {
	for _, e := range s.entries[1:] {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		p := path.Join(dest, e.rel)
		if err := c.put(s.tree, e, p); err != nil {
			return named("/"+p, err)
		}
	}
	for i := len(s.entries) - 1; i >= 1; i-- {
		if e := s.entries[i]; e.mode.IsDir() {
			if err := c.target.touch(path.Join(dest, e.rel), c.time(e.mtime)); err != nil {
				return named("/"+path.Join(dest, e.rel), err)
			}
		}
	}
	return nil
}

func (c *copier) time(t time.Time) time.Time {
	if !c.clamp.IsZero() && t.After(c.clamp) {
		return c.clamp
	}
	return t
}

// put writes one entry of from to p, which has no symlinks on its way.
func (c *copier) put(from *tree, e entry, p string) error {
	e.mtime = c.time(e.mtime)
	switch {
	case e.mode.IsDir():
		return c.target.putDir(p, e)
	case e.link != "":
		return c.target.putSymlink(p, e)
	}
	f, err := from.root.Open(e.path)
	if err != nil {
		return err
	}
	return errors.Join(c.target.putFile(p, e, f), f.Close())
}

// unpack extracts an archive beside the image first and copies the result, so
// that nothing in the image can redirect what the archive names.
func (c *copier) unpack(s *source, dest string) (err error) {
	m := c.target.mapping
	dir, err := os.MkdirTemp(c.staging, "add-")
	if err != nil {
		return err
	}
	root, err := m.ToStore(0)
	if err != nil {
		return err
	}
	if err := os.Chown(dir, int(root), int(root)); err != nil {
		return err
	}
	f, err := s.tree.root.Open(s.entries[0].path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), layer.Remove(dir)) }()
	plain, err := decompress(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if err := layer.Unpack(c.ctx, plain, dir, layer.UnpackOptions{Mapping: m, Warn: c.target.warn}); err != nil {
		return fmt.Errorf("%s: %w", visible(s.base), err)
	}
	staged, err := openTree(dir, "the archive "+visible(s.base))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.Close()) }()
	staged.ids = storeIDs(m)
	entries, err := staged.entries(".")
	if err != nil {
		return err
	}
	return c.contents(&source{tree: staged, entries: entries}, dest)
}
