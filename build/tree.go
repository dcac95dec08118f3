// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

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
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"
)

// maxEntries bounds one COPY: more files than any image has.
const maxEntries = 2_000_000

// errNoSource is a source path that does not exist.
var errNoSource = errors.New("no such file or directory")

// tree is a directory that COPY and ADD read from, whatever it contains. Paths
// are relative to it, with slashes, and resolved inside it only.
type tree struct {
	// name is for messages: "the build context".
	name string
	dir  string
	root *os.Root
	// strict: a path or symlink that leads out is an error (the context).
	// Otherwise it is resolved as if dir were the root directory (an image).
	strict bool
	// lenient: what cannot be copied is left out without a word.
	lenient bool
	// ignore is .dockerignore; nil without one. exceptions: it has ! lines.
	ignore     *patternmatcher.PatternMatcher
	exceptions bool
	matching   sync.Mutex // the matcher compiles patterns on first use
	// ids gives the image ids of a file on disk; nil where root owns all.
	ids func(uid, gid uint32) (owner, error)
	// warn takes what is left out.
	warn func(string)
}

// owner is a pair of image ids.
type owner struct{ uid, gid uint32 }

// entry is one file to copy.
type entry struct {
	// rel is the path below the source, "" for the source itself; path is
	// where the file is in its tree.
	rel, path string
	mode      os.FileMode
	owner     owner
	mtime     time.Time
	// sum, if set, is the digest of the content, which need not be here then.
	sum  digest.Digest
	link string
}

func openTree(dir, name string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &tree{name: name, dir: dir, root: root, warn: func(string) {}}, nil
}

// Close gives up the directory.
func (t *tree) Close() error { return t.root.Close() }

// resolve returns p without symlinks, relative to the tree.
func (t *tree) resolve(p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", errors.New("the path contains a NUL byte")
	}
	// As docker has it, .. at the root is the root.
	clean := cmpDot(path.Clean("/" + p)[1:])
	if t.strict {
		err := t.inside(clean)
		if err != nil && (p == ".." || strings.HasPrefix(path.Clean(p), "../")) {
			return "", withHint(err, "only files below the context directory can be copied: .. leads no higher")
		}
		if err != nil {
			return "", err
		}
	}
	full, err := securejoin.SecureJoin(t.dir, clean)
	if err != nil {
		return "", fmt.Errorf("%s: %w", visible(p), err)
	}
	rel, err := filepath.Rel(t.dir, full)
	if err != nil {
		return "", fmt.Errorf("%s: %w", visible(p), err)
	}
	return rel, nil
}

// inside refuses a path that symlinks lead out of the tree.
func (t *tree) inside(p string) error {
	_, err := t.root.Stat(p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s: %w in %s", visible(p), errNoSource, t.name)
	case escapes(err):
		return withHint(fmt.Errorf("%s: a symbolic link leads out of %s", visible(p), t.name),
			"copy the file itself into the context")
	}
	return fmt.Errorf("%s: %w", visible(p), err)
}

// escapes reports whether os.Root refused a path because it leads out. The
// standard library has no sentinel for it.
func escapes(err error) bool {
	return err != nil && strings.Contains(err.Error(), "path escapes from parent")
}

// ignored reports whether .dockerignore leaves p out.
func (t *tree) ignored(p string) (bool, error) {
	if t.ignore == nil || p == "." {
		return false, nil
	}
	t.matching.Lock()
	defer t.matching.Unlock()
	out, err := t.ignore.MatchesOrParentMatches(p)
	if err != nil {
		return false, fmt.Errorf(".dockerignore: %w", err)
	}
	return out, nil
}

// entries returns the source p and, for a directory, all below it, parents
// before children, in the order of names.
func (t *tree) entries(p string) ([]entry, error) {
	resolved, err := t.resolve(p)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w in %s", visible(p), errNoSource, t.name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", visible(p), err)
	}
	w := &walker{tree: t}
	if err := w.visit(resolved, "", info); err != nil {
		return nil, err
	}
	if len(w.found) == 0 {
		if out, err := t.ignored(resolved); err == nil && out {
			return nil, withHint(fmt.Errorf("%s: %w in %s", visible(p), errNoSource, t.name),
				"the file exists, but .dockerignore leaves it out")
		}
		return nil, fmt.Errorf("%s: not a regular file, directory or symbolic link", visible(p))
	}
	return w.found, nil
}

// walker collects entries.
type walker struct {
	tree  *tree
	found []entry
}

func (w *walker) visit(p, rel string, info fs.FileInfo) error {
	ignored, err := w.tree.ignored(p)
	if err != nil {
		return err
	}
	if ignored && (!info.IsDir() || !w.tree.exceptions) {
		return nil
	}
	e, ok, err := w.entry(p, rel, info)
	if err != nil || !ok {
		return err
	}
	if len(w.found) == maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	w.found = append(w.found, e)
	if !info.IsDir() {
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

func (w *walker) children(p, rel string) error {
	names, err := w.tree.names(p)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := path.Join(p, name)
		info, err := w.tree.root.Lstat(child)
		if err != nil {
			return fmt.Errorf("%s: %w", visible(child), err)
		}
		if err := w.visit(child, path.Join(rel, name), info); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory in order.
func (t *tree) names(p string) ([]string, error) {
	dir, err := t.root.Open(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", visible(p), err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", visible(p), err)
	}
	slices.Sort(names)
	return names, nil
}

// entry describes one file; false means it is left out.
func (w *walker) entry(p, rel string, info fs.FileInfo) (entry, bool, error) {
	e := entry{rel: rel, path: p, mode: info.Mode(), mtime: info.ModTime()}
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		link, err := w.tree.root.Readlink(p)
		if err != nil {
			return e, false, fmt.Errorf("%s: %w", visible(p), err)
		}
		e.link = link
	case fs.ModeSocket:
		w.tree.warn(fmt.Sprintf("%s: a socket in %s is not copied", visible(p), w.tree.name))
		return e, false, nil
	default:
		if w.tree.lenient {
			return e, false, nil
		}
		return e, false, withHint(fmt.Errorf("%s: a device or named pipe cannot be copied", visible(p)),
			"leave it out with .dockerignore, or copy the other files by name")
	}
	if w.tree.ids != nil {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return e, false, fmt.Errorf("%s: owner is not known", visible(p))
		}
		var err error
		if e.owner, err = w.tree.ids(st.Uid, st.Gid); err != nil {
			return e, false, fmt.Errorf("%s: %w", visible(p), err)
		}
	}
	return e, true, nil
}

// glob expands a source pattern as filepath.Match reads it: each part of the
// path by itself. A pattern that matches nothing gives nothing.
func (t *tree) glob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("%s: bad wildcard pattern", visible(pattern))
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
		if len(next) > maxEntries {
			return nil, fmt.Errorf("%s: more than %d matches", visible(pattern), maxEntries)
		}
		found = next
	}
	return found, nil
}

// matchIn returns the paths of the files in dir whose names match part.
func (t *tree) matchIn(dir, part string) ([]string, error) {
	if !strings.ContainsAny(part, `*?[\`) {
		return []string{path.Join(dir, part)}, nil
	}
	resolved, err := t.resolve(dir)
	if errors.Is(err, errNoSource) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", visible(dir), err)
	}
	names, err := t.names(resolved)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		ok, err := path.Match(part, name)
		if err != nil {
			return nil, fmt.Errorf("%s: bad wildcard pattern", visible(part))
		}
		if !ok {
			continue
		}
		p := path.Join(dir, name)
		if out2, err := t.ignored(p); err != nil || out2 && !t.exceptions {
			if err != nil {
				return nil, err
			}
			continue
		}
		out = append(out, p)
	}
	return out, nil
}
