// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Entry is one file to copy. Its ids are the image's; the attributes of a regular
// file are read when it is opened.
type Entry struct {
	inode.Inode
	// Rel is the path below the source, "" for the source itself; Path is where
	// the file is in its tree.
	Rel, Path string
	// Sum, if set, is the digest of the content, which need not be here then.
	Sum digest.Digest
}

// Entries returns the source p and, for a directory, all below it, parents
// before children, in the order of names.
func (t *Tree) Entries(p string) ([]Entry, error) {
	resolved, err := t.Resolve(p)
	if err != nil {
		return nil, err
	}
	w := &walker{tree: t}
	err = w.visit(resolved, "")
	if errors.Is(err, fs.ErrNotExist) && len(w.found) == 0 || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w in %s", visible.Line(p), ErrNoSource, t.Name)
	}
	if err != nil {
		return nil, err
	}
	if len(w.found) > 0 {
		return w.found, nil
	}
	if out, err := t.ignored(resolved); err == nil && out {
		return nil, hint.With(fmt.Errorf("%s: %w in %s", visible.Line(p), ErrNoSource, t.Name),
			"the file exists, but .dockerignore excludes it")
	}
	return nil, fmt.Errorf("%s: not a regular file, directory, named pipe or symbolic link", visible.Line(p))
}

// walker collects entries.
type walker struct {
	tree  *Tree
	found []Entry
}

// visit adds the file p, which is called rel below the source, and what is in it.
func (w *walker) visit(p, rel string) error {
	ignored, err := w.tree.ignored(p)
	if err != nil {
		return err
	}
	if ignored && !w.tree.exceptions() {
		_, err := w.tree.Root.Lstat(p)
		return err
	}
	e, ok, err := w.entry(p, rel)
	if err != nil || !ok || ignored && !e.IsDir() {
		return err
	}
	if len(w.found) == MaxEntries {
		return fmt.Errorf("more than %d files", MaxEntries)
	}
	w.found = append(w.found, e)
	if !e.IsDir() {
		return nil
	}
	before := len(w.found)
	if err := w.children(p, rel); err != nil {
		return err
	}
	// A directory that is left out comes only for the sake of what is not.
	if ignored && len(w.found) == before {
		w.found = w.found[:before-1]
	}
	return nil
}

// children adds what is in a directory.
func (w *walker) children(p, rel string) error {
	names, err := w.tree.names(p)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.visit(path.Join(p, name), path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

// entry describes one file; false means it is left out.
func (w *walker) entry(p, rel string) (Entry, bool, error) {
	e := Entry{Rel: rel, Path: p}
	f, err := w.tree.open(p, unix.O_PATH)
	if err != nil {
		return e, false, err
	}
	e.Inode, err = inode.Stat(int(f.Fd()))
	if err := errors.Join(err, f.Close()); err != nil {
		return e, false, fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	switch e.Type() {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO:
	case unix.S_IFSOCK:
		w.tree.Warn(fmt.Sprintf("%s: a socket in %s is not copied", visible.Line(p), w.tree.Name))
		return e, false, nil
	default:
		if w.tree.Lenient {
			return e, false, nil
		}
		return e, false, hint.With(fmt.Errorf("%s: a device cannot be copied", visible.Line(p)),
			"exclude it with .dockerignore, or copy the other files by name")
	}
	if e.IsDir() {
		if e.Attrs, err = w.tree.attributes(p); err != nil {
			return e, false, err
		}
	}
	if w.tree.ID == nil {
		e.UID, e.GID = 0, 0
	} else if err := e.MapIDs(w.tree.ID); err != nil {
		return e, false, fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	return e, true, nil
}

// attributes returns those of a directory that belong to an image.
func (t *Tree) attributes(p string) (map[string]string, error) {
	dir, err := t.open(p, os.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	attrs, _, err := inode.Attributes(int(dir.Fd()))
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	return attrs, nil
}

// names lists a directory in order.
func (t *Tree) names(p string) ([]string, error) {
	dir, err := t.open(p, os.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	slices.Sort(names)
	return names, nil
}

// open opens a name of the tree, which has no symbolic links on its way, and not
// what a symbolic link there leads to.
func (t *Tree) open(p string, flags int) (*os.File, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK // a named pipe has no writer
	}
	fd, err := unix.Openat2(int(t.at.Fd()), p, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	return os.NewFile(uintptr(fd), p), nil
}

// OpenFile opens a regular file and completes what is known of it.
func (t *Tree) OpenFile(e *Entry) (*os.File, error) {
	f, err := t.open(e.Path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	now, err := inode.Stat(int(f.Fd()))
	if err == nil && !now.IsRegular() {
		err = errors.New("it changes while it is read")
	}
	if err == nil {
		e.Attrs, _, err = inode.Attributes(int(f.Fd()))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", visible.Line(e.Path), err), f.Close())
	}
	return f, nil
}

// Parents is what --parents copies: the files that match the pattern with
// the directories on the way, as seen from the ./ in it or from the root.
func (t *Tree) Parents(pattern string) ([]Entry, error) {
	pivot, rest, ok := strings.Cut(pattern, "/./")
	if !ok {
		pivot, rest = "", pattern
	}
	rest = path.Clean("/" + rest)[1:]
	if rest == "" {
		rest = "**"
	}
	all, err := t.below(Dot(strings.Trim(pivot, "/")), rest)
	if err != nil {
		return nil, err
	}
	m, err := patternmatcher.New([]string{rest})
	if err != nil {
		return nil, fmt.Errorf("%s: bad wildcard pattern", visible.Line(pattern))
	}
	entries, err := selected(all, m)
	if err == nil && len(entries) == 1 && !strings.ContainsAny(pattern, `*?[`) {
		err = fmt.Errorf("%s: %w in %s", visible.Line(pattern), ErrNoSource, t.Name)
	}
	return entries, err
}

// below is the directory top and what of it can match pattern: the parts of
// that which hold no wildcard lead to it.
func (t *Tree) below(top, pattern string) ([]Entry, error) {
	at, err := t.Resolve(top)
	if err != nil {
		return nil, err
	}
	w := &walker{tree: t}
	parts, rel := strings.Split(pattern, "/"), ""
	for i := 0; ; i++ {
		if i == len(parts) {
			err := w.visit(at, rel)
			if errors.Is(err, fs.ErrNotExist) && len(w.found) == i {
				err = nil // nothing matches
			}
			return w.found, err
		}
		e, ok, err := w.entry(at, rel)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i > 0:
			return w.found, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s: %w in %s", visible.Line(top), ErrNoSource, t.Name)
		case err != nil || !ok || !e.IsDir():
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
func selected(entries []Entry, m *patternmatcher.PatternMatcher) ([]Entry, error) {
	out := entries[:1:1]
	var parents []Entry
	for _, e := range entries[1:] {
		for len(parents) > 0 && !strings.HasPrefix(e.Rel, parents[len(parents)-1].Rel+"/") {
			parents = parents[:len(parents)-1]
		}
		match, err := m.MatchesOrParentMatches(e.Rel)
		if err != nil {
			return nil, err
		}
		switch {
		case match:
			// Those that are there already are not among parents any more.
			out = append(append(out, parents...), e)
			parents = nil
		case e.IsDir():
			parents = append(parents, e)
		}
	}
	return out, nil
}
