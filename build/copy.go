// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/patternmatcher"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// source is one thing to copy: a file or a directory with all that is in it.
type source struct {
	tree    *tree
	base    string // the name it is copied under
	entries []entry
	// archive: ADD unpacks it instead of copying it.
	archive bool
	// inline is the text of a heredoc; there is no tree then.
	inline *inlineFile
	// id, if set, says what the source is without reading it.
	id string
}

func (s *source) isDir() bool { return s.inline == nil && s.entries[0].mode.IsDir() }

// findSources resolves the sources of c: those in t, and what is remote.
func (w *work) findSources(ctx context.Context, t *tree, c *copyOp) ([]source, error) {
	var out []source
	excluded, err := c.excluder()
	if err != nil {
		return nil, err
	}
	for _, pattern := range c.Sources {
		kind, ref, err := classify(pattern)
		if err != nil {
			return nil, err
		}
		var found []source
		switch {
		case kind == remoteGit:
			found, err = one(w.repository(ctx, ref, c))
		case kind == remoteURL:
			found, err = one(w.download(ctx, pattern, c.Checksum))
		case c.Parents:
			found, err = one(t.withParents(pattern))
		default:
			found, err = t.sources(pattern)
		}
		if err != nil {
			return nil, err
		}
		for i := range found {
			s := &found[i]
			keep, err := s.exclude(excluded)
			if err != nil {
				return nil, err
			}
			if !keep {
				continue
			}
			if c.unpacks(kind != notRemote) && s.entries[0].mode.IsRegular() {
				if s.archive, err = s.tree.isArchive(s.entries[0].path); err != nil {
					return nil, err
				}
			}
			out = append(out, *s)
		}
	}
	for i := range c.Inline {
		out = append(out, source{base: c.Inline[i].Name, inline: &c.Inline[i]})
	}
	if len(out) == 0 {
		t.warn(fmt.Sprintf("%s: no file in %s matches", visible(strings.Join(c.Sources, " ")), t.name))
	}
	return out, nil
}

func one(s source, err error) ([]source, error) { return []source{s}, err }

// sources are the files and directories that a pattern matches.
func (t *tree) sources(pattern string) ([]source, error) {
	paths, err := t.glob(pattern)
	if err != nil {
		return nil, err
	}
	var out []source
	for _, p := range paths {
		entries, err := t.entries(p)
		if err != nil && p != pattern && errors.Is(err, errNoSource) {
			continue // a wildcard match that .dockerignore leaves out
		}
		if err != nil {
			return nil, err
		}
		out = append(out, source{tree: t, base: path.Base(path.Clean("/" + p)), entries: entries})
	}
	return out, nil
}

// withParents is what --parents copies: the files that match the pattern with
// the directories on the way, as seen from the ./ in it or from the root.
func (t *tree) withParents(pattern string) (source, error) {
	pivot, rest, ok := strings.Cut(pattern, "/./")
	if !ok {
		pivot, rest = "", pattern
	}
	rest = path.Clean("/" + rest)[1:]
	if rest == "" {
		rest = "**"
	}
	s := source{tree: t}
	all, err := t.below(cmpDot(strings.Trim(pivot, "/")), rest)
	if err != nil {
		return s, err
	}
	m, err := patternmatcher.New([]string{rest})
	if err != nil {
		return s, fmt.Errorf("%s: bad wildcard pattern", visible(pattern))
	}
	s.entries, err = selected(all, m)
	if err == nil && len(s.entries) == 1 && !strings.ContainsAny(pattern, `*?[`) {
		err = fmt.Errorf("%s: %w in %s", visible(pattern), errNoSource, t.name)
	}
	return s, err
}

// below is the directory top and what of it can match pattern: the parts of
// that which hold no wildcard lead to it.
func (t *tree) below(top, pattern string) ([]entry, error) {
	at, err := t.resolve(top)
	if err != nil {
		return nil, err
	}
	w := &walker{tree: t}
	parts, rel := strings.Split(pattern, "/"), ""
	for i := 0; ; i++ {
		info, err := t.root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			return w.found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w in %s", visible(top), errNoSource, t.name)
		}
		if i == len(parts) {
			return w.found, w.visit(at, rel, info)
		}
		e, ok, err := w.entry(at, rel, info)
		if err != nil || !ok || !info.IsDir() {
			return w.found, err
		}
		w.found = append(w.found, e)
		if strings.ContainsAny(parts[i], `*?[\\`) {
			return w.found, w.children(at, rel)
		}
		at, rel = path.Join(at, parts[i]), path.Join(rel, parts[i])
	}
}

// selected is the first of entries, those that match, and their parents.
func selected(entries []entry, m *patternmatcher.PatternMatcher) ([]entry, error) {
	out := entries[:1:1]
	var parents []entry
	for _, e := range entries[1:] {
		for len(parents) > 0 && !strings.HasPrefix(e.rel, parents[len(parents)-1].rel+"/") {
			parents = parents[:len(parents)-1]
		}
		match, err := m.MatchesOrParentMatches(e.rel)
		if err != nil {
			return nil, err
		}
		switch {
		case match:
			// Those that are there already are not among parents any more.
			out = append(append(out, parents...), e)
			parents = nil
		case e.mode.IsDir():
			parents = append(parents, e)
		}
	}
	return out, nil
}

// exclude takes out what --exclude names, relative to the source: a file that
// is a source itself goes by its name. It reports whether anything is left.
func (s *source) exclude(m *patternmatcher.PatternMatcher) (bool, error) {
	if m == nil || s.inline != nil {
		return true, nil
	}
	var kept []entry
	for i, e := range s.entries {
		name := e.rel
		if i == 0 && e.mode.IsDir() {
			kept = append(kept, e)
			continue
		}
		if name == "" {
			name = s.base
		}
		out, err := m.MatchesOrParentMatches(name)
		if err != nil {
			return false, fmt.Errorf("--exclude: %w", err)
		}
		if !out {
			kept = append(kept, e)
		}
	}
	if s.id != "" {
		s.id = fmt.Sprint(s.id, len(kept))
	}
	s.entries = kept
	return len(kept) > 0, nil
}

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
