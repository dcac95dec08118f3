// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// maxIgnore bounds .dockerignore; matching costs its length times the context.
const maxIgnore = 256 << 10

// openContext opens the context directory and reads its ignore file.
func openContext(dir, dockerfile string, inContext bool) (*files.Tree, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("build context %s: no such directory", visible.Line(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("build context %s: not a directory", visible.Line(dir))
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	t, err := files.Open(resolved, "the build context")
	if err != nil {
		return nil, err
	}
	t.Strict = true
	if err := readIgnore(t, dockerfile, inContext); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// readIgnore reads DOCKERFILE.dockerignore beside the Dockerfile or, without
// one, the context's .dockerignore.
func readIgnore(t *files.Tree, dockerfile string, inContext bool) error {
	inside := func(name string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return openRegular(t.Root, name) }
	}
	name, err := "", fs.ErrNotExist
	var data []byte
	if dockerfile != "-" {
		name = dockerfile + ".dockerignore"
		open := func() (io.ReadCloser, error) { return os.Open(name) }
		if dockerfile == "" {
			name = "Dockerfile.dockerignore"
		}
		if inContext || dockerfile == "" {
			open = inside(name)
		}
		data, err = readBounded(open, maxIgnore)
	}
	if errors.Is(err, fs.ErrNotExist) {
		name = ".dockerignore"
		data, err = readBounded(inside(name), maxIgnore)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", visible.Line(name), err)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read %s: %w", visible.Line(name), err)
	}
	if len(patterns) == 0 {
		return nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return fmt.Errorf("read %s: %w", visible.Line(name), err)
	}
	t.Ignore = m
	return nil
}

// openRegular opens a file that must be a regular one, so that a pipe in a
// hostile context does not block.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if files.Escapes(err) {
		return nil, errors.New("a symbolic link leads out of the build context; put the file itself there")
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", visible.Line(name))
	}
	return root.Open(name)
}

// readBounded reads all of what open gives, at most limit bytes.
func readBounded(open func() (io.ReadCloser, error), limit int64) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return data, nil
}

// readLower reads what some name dockerfile; docker takes it, too.
func readLower(dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return readBounded(func() (io.ReadCloser, error) { return openRegular(root, "dockerfile") }, dockerfile.MaxSize)
}

// dockerfileText is a Dockerfile, and its name for messages.
type dockerfileText struct {
	name string
	data []byte
}

// readOnce returns what reads the Dockerfile, the first time: it is the same for
// all platforms, also from a pipe.
func readOnce(o Options) func() (dockerfileText, error) {
	return sync.OnceValues(func() (t dockerfileText, err error) {
		t.name, t.data, err = readDockerfile(o)
		return t, err
	})
}

// readDockerfile returns the text and the name for messages.
func readDockerfile(o Options) (name string, data []byte, err error) {
	switch {
	case o.Dockerfile == "" || o.InContext && o.Dockerfile != "-":
		name = o.Dockerfile
		if name == "" {
			name = "Dockerfile"
		}
		data, err = readBounded(func() (io.ReadCloser, error) {
			root, err := os.OpenRoot(o.ContextDir)
			if err != nil {
				return nil, err
			}
			defer root.Close()
			return openRegular(root, name)
		}, dockerfile.MaxSize)
		if errors.Is(err, fs.ErrNotExist) && o.Dockerfile == "" {
			if lower, lowerErr := readLower(o.ContextDir); lowerErr == nil {
				data, err = lower, nil
			}
		}
	case o.Dockerfile == "-":
		name = "Dockerfile on standard input"
		data, err = readBounded(func() (io.ReadCloser, error) {
			if o.Stdin == nil {
				return nil, errors.New("standard input is not open")
			}
			return io.NopCloser(o.Stdin), nil
		}, dockerfile.MaxSize)
	default:
		name = o.Dockerfile
		data, err = readBounded(func() (io.ReadCloser, error) { return os.Open(name) }, dockerfile.MaxSize)
	}
	if errors.Is(err, fs.ErrNotExist) {
		e := &dockerfile.Error{File: visible.Line(name), Err: errors.New("no such file")}
		if o.Dockerfile == "" {
			e.Hint = "the context is " + visible.Line(o.ContextDir) + "; another Dockerfile is named with -f"
		} else if !strings.Contains(name, "/") {
			e.Hint = "-f is relative to the current directory, not to the context"
		}
		return name, nil, e
	}
	if err != nil {
		return name, nil, &dockerfile.Error{File: visible.Line(name), Err: err}
	}
	return name, data, nil
}
