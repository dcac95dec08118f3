// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// digestSources is what the cache goes by: see files.Tree.Digest.
func (x *step) digestSources(ctx context.Context, sources []source) (string, error) {
	meter := x.shown.reads("reading files", contentSize(sources))
	h := sha256.New()
	for i := range sources {
		s := &sources[i]
		files.Field(h, s.base)
		if s.inline != nil {
			files.Field(h, "inline", s.inline.Data)
			continue
		}
		files.Field(h, fmt.Sprint(s.isDir(), s.archive, len(s.entries)))
		if s.id != "" {
			files.Field(h, "id", s.id)
			continue
		}
		if err := s.tree.Digest(ctx, h, s.entries, meter); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), nil
}

// contentSize is how many bytes digestSources reads.
func contentSize(sources []source) (n int64) {
	for i := range sources {
		for j := range sources[i].entries {
			if e := &sources[i].entries[j]; sources[i].id == "" && e.IsRegular() && e.Sum == "" {
				n += e.Size
			}
		}
	}
	return n
}

// copier copies the sources of one COPY or ADD.
type copier struct {
	op     *dockerfile.Copy
	target *files.Writer
	// staging is a directory for unpacking archives.
	staging string
	ctx     context.Context //nolint:containedctx // one operation long
}

// copy puts every source where docker would. A destination written with a
// slash, that is a directory, or that takes a directory's contents is one.
func (c *copier) copy(sources []source) error {
	isDir := c.op.IsDir
	if !isDir {
		var err error
		if isDir, err = c.target.IsDirectory(c.op.Dest); err != nil {
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
		return hint.With(fmt.Errorf("%d files match, but the destination %s is not a directory", files, visible.Line(c.op.Dest)),
			"end the destination with a slash")
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
		dest, err := c.target.MkdirAll(c.op.Dest)
		if err != nil {
			return err
		}
		return c.unpack(s, dest)
	case s.isDir():
		dest, err := c.target.MkdirAll(c.op.Dest)
		if err != nil {
			return err
		}
		return c.target.Contents(c.ctx, s.tree, s.entries, dest)
	}
	p := c.op.Dest
	if isDir {
		p = path.Join(p, s.base)
	}
	if _, err := c.target.MkdirAll(path.Dir(p)); err != nil {
		return err
	}
	resolved, err := c.target.Resolve(p)
	if err != nil {
		return err
	}
	// What a symlink stands for may lie where no directory is yet.
	if _, err := c.target.MkdirAll(path.Dir(resolved)); err != nil {
		return err
	}
	if s.inline != nil {
		e := files.Entry{Inode: inode.Inode{Mode: unix.S_IFREG | 0o644, Time: time.Now()}}
		return named(p, c.target.PutFile(resolved, &e, strings.NewReader(s.inline.Data)))
	}
	return named(p, c.target.Put(s.tree, &s.entries[0], resolved))
}

func named(p string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write %s: %w", visible.Line(p), err)
}

// unpack extracts an archive beside the image first and copies the result, so
// that nothing in the image can redirect what the archive names.
func (c *copier) unpack(s *source, dest string) (err error) {
	m := c.target.Mapping
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
	f, err := s.tree.OpenFile(&s.entries[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), layer.Remove(dir)) }()
	plain, err := decompress(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if err := layer.Unpack(c.ctx, plain, dir, layer.UnpackOptions{Mapping: m, Plain: true, Warn: c.target.Warn}); err != nil {
		return fmt.Errorf("%s: %w", visible.Line(s.base), err)
	}
	staged, err := files.Open(dir, "the archive "+visible.Line(s.base))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.Close()) }()
	staged.ID = m.FromStore
	entries, err := staged.Entries(".")
	if err != nil {
		return err
	}
	return c.target.Contents(c.ctx, staged, entries, dest)
}
