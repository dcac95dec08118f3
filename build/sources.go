// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
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
			found, err = one(w.download(ctx, pattern, c))
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
