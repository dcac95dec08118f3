// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// source is one thing to copy: a file or a directory with all that is in it.
type source struct {
	tree    *files.Tree
	base    string // the name it is copied under
	entries []files.Entry
	// archive: ADD unpacks it instead of copying it.
	archive bool
	// inline is the text of a heredoc; there is no tree then.
	inline *dockerfile.InlineFile
	// id, if set, says what the source is without reading it.
	id string
}

func (s *source) isDir() bool { return s.inline == nil && s.entries[0].IsDir() }

// findSources resolves the sources of c: those in t, and what is remote.
func (x *step) findSources(ctx context.Context, t *files.Tree, c *dockerfile.Copy) ([]source, error) {
	var out []source
	excluded, err := c.Excluder()
	if err != nil {
		return nil, err
	}
	for _, pattern := range c.SourcePaths {
		kind, ref, err := dockerfile.Classify(pattern)
		if err != nil {
			return nil, err
		}
		var found []source
		switch {
		case kind == dockerfile.RemoteGit:
			found, err = one(x.repository(ctx, ref, c))
		case kind == dockerfile.RemoteURL:
			found, err = one(x.download(ctx, pattern, c))
		case c.Parents:
			var entries []files.Entry
			entries, err = t.Parents(pattern)
			found = []source{{tree: t, entries: entries}}
		default:
			found, err = matching(t, pattern)
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
			if c.Unpacks(kind != dockerfile.NotRemote) && s.entries[0].IsRegular() {
				if s.archive, err = isArchive(s.tree, &s.entries[0]); err != nil {
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
		t.Warn(fmt.Sprintf("%s: no file in %s matches", visible.Line(strings.Join(c.SourcePaths, " ")), t.Name))
	}
	return out, nil
}

func one(s source, err error) ([]source, error) { return []source{s}, err }

// matching are the files and directories of a tree that a pattern matches.
func matching(t *files.Tree, pattern string) ([]source, error) {
	paths, err := t.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var out []source
	for _, p := range paths {
		entries, err := t.Entries(p)
		if err != nil && p != pattern && errors.Is(err, files.ErrNoSource) {
			continue // a wildcard match that .dockerignore leaves out
		}
		if err != nil {
			return nil, err
		}
		out = append(out, source{tree: t, base: path.Base(path.Clean("/" + p)), entries: entries})
	}
	return out, nil
}

// exclude takes out what --exclude names, relative to the source: a file that
// is a source itself goes by its name. It reports whether anything is left.
func (s *source) exclude(m *patternmatcher.PatternMatcher) (bool, error) {
	if m == nil || s.inline != nil {
		return true, nil
	}
	var kept []files.Entry
	for i, e := range s.entries {
		name := e.Rel
		if i == 0 && e.IsDir() {
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
