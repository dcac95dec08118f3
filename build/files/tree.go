// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/patternmatcher"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// MaxEntries bounds one copy: more files than any image has.
const MaxEntries = 2_000_000

// ErrNoSource is a source path that does not exist.
var ErrNoSource = errors.New("no such file or directory")

// Tree is a directory that files are read from, whatever it contains. Paths are
// relative to it, with slashes, and resolved inside it only.
type Tree struct {
	// Name is for messages: "the build context".
	Name string
	Dir  string
	Root *os.Root
	at   *os.File // the directory itself
	// Strict: a path or symlink that leads out is an error (the context).
	// Otherwise it is resolved as if Dir were the root directory (an image).
	Strict bool
	// Lenient: what cannot be copied is left out without a word.
	Lenient bool
	// Ignore is .dockerignore; nil without one.
	Ignore   *patternmatcher.PatternMatcher
	matching sync.Mutex // the matcher compiles patterns on first use
	// ID gives the image id of an id on disk; nil where root owns all.
	ID func(uint32) (uint32, error)
	// Warn takes what is left out.
	Warn func(string)
}

// Open opens a directory. The caller closes the tree.
func Open(dir, name string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	at, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), root.Close())
	}
	return &Tree{Name: name, Dir: dir, Root: root, at: at, Warn: func(string) {}}, nil
}

// Close gives up the directory.
func (t *Tree) Close() error { return errors.Join(t.at.Close(), t.Root.Close()) }

// Resolve returns p without symlinks, relative to the tree.
func (t *Tree) Resolve(p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", errors.New("the path contains a NUL byte")
	}
	// As docker has it, .. at the root is the root.
	clean := Dot(path.Clean("/" + p)[1:])
	if t.Strict {
		err := t.inside(clean)
		if err != nil && (p == ".." || strings.HasPrefix(path.Clean(p), "../")) {
			return "", hint.With(err, "only files below the context directory can be copied; .. cannot leave it")
		}
		if err != nil {
			return "", err
		}
	}
	full, err := securejoin.SecureJoin(t.Dir, clean)
	if err != nil {
		return "", fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	rel, err := filepath.Rel(t.Dir, full)
	if err != nil {
		return "", fmt.Errorf("%s: %w", visible.Line(p), err)
	}
	return rel, nil
}

// wholeContextIgnored are patterns that leave nothing of a context.
var wholeContextIgnored = []string{"*", "**", "**/*"}

// LeavesOut reports whether .dockerignore surely leaves a source out: with !
// lines that cannot be said.
func (t *Tree) LeavesOut(src string) bool {
	if t.Ignore == nil || t.exceptions() {
		return false
	}
	if src == "." || src == "/" {
		return slices.ContainsFunc(t.Ignore.Patterns(), func(p *patternmatcher.Pattern) bool { return slices.Contains(wholeContextIgnored, p.String()) })
	}
	out, err := t.ignored(strings.TrimPrefix(src, "/"))
	return out && err == nil
}

// Dot is the name of a path in a tree: "." for "".
func Dot(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// inside refuses a path that symlinks lead out of the tree.
func (t *Tree) inside(p string) error {
	_, err := t.Root.Stat(p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s: %w in %s", visible.Line(p), ErrNoSource, t.Name)
	case Escapes(err):
		return hint.With(fmt.Errorf("%s: a symbolic link leads out of %s", visible.Line(p), t.Name),
			"copy the file itself into the context")
	}
	return fmt.Errorf("%s: %w", visible.Line(p), err)
}

// Escapes reports whether os.Root refused a path because it leads out. The
// standard library has no sentinel for it.
func Escapes(err error) bool {
	return err != nil && strings.Contains(err.Error(), "path escapes from parent")
}

// exceptions reports whether .dockerignore has lines that start with !.
func (t *Tree) exceptions() bool { return t.Ignore != nil && t.Ignore.Exclusions() }

// ignored reports whether .dockerignore leaves p out.
func (t *Tree) ignored(p string) (bool, error) {
	if t.Ignore == nil || p == "." {
		return false, nil
	}
	t.matching.Lock()
	defer t.matching.Unlock()
	out, err := t.Ignore.MatchesOrParentMatches(p)
	if err != nil {
		return false, fmt.Errorf(".dockerignore: %w", err)
	}
	return out, nil
}

// Glob expands a source pattern as filepath.Match reads it: each part of the
// path by itself. A pattern that matches nothing gives nothing.
func (t *Tree) Glob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("%s: bad wildcard pattern", visible.Line(pattern))
	}
	found := []string{"."}
	for part := range strings.SplitSeq(path.Clean(strings.TrimLeft(pattern, "/")), "/") {
		var next []string
		for _, dir := range found {
			matches, err := t.matchIn(dir, part)
			if err != nil {
				return nil, err
			}
			next = append(next, matches...)
		}
		if len(next) > MaxEntries {
			return nil, fmt.Errorf("%s: more than %d matches", visible.Line(pattern), MaxEntries)
		}
		found = next
	}
	return found, nil
}

// matchIn returns the paths of the files in dir whose names match part.
func (t *Tree) matchIn(dir, part string) ([]string, error) {
	if !strings.ContainsAny(part, `*?[\`) {
		return []string{path.Join(dir, part)}, nil
	}
	resolved, err := t.Resolve(dir)
	if errors.Is(err, ErrNoSource) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := t.Root.Lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", visible.Line(dir), err)
	}
	names, err := t.names(resolved)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		ok, err := path.Match(part, name)
		if err != nil {
			return nil, fmt.Errorf("%s: bad wildcard pattern", visible.Line(part))
		}
		if !ok {
			continue
		}
		p := path.Join(dir, name)
		if out2, err := t.ignored(p); err != nil || out2 && !t.exceptions() {
			if err != nil {
				return nil, err
			}
			continue
		}
		out = append(out, p)
	}
	return out, nil
}
