// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// ContextSource gets contexts that are no directory of this machine.
type ContextSource struct {
	Store *rootfs.Store
	Stdin io.Reader
	// Egress are the rules for what addresses lead to: what a person names may be
	// anywhere, but what it sends one on to may not; nil: no rules.
	Egress outbound.Rules
	// Connect is the command that connects git to HOST PORT; see GitCheckout.
	Connect string
	// Agent is the socket of an ssh agent for git.
	Agent string

	undo []func() error
}

// Fetched is a context that is a directory now.
type Fetched struct {
	Dir string
	// Dockerfile is what came in place of a context; nil if that is one.
	Dockerfile io.Reader
}

// IsLocal reports whether a context is named by a path. A name that could be a
// path on GitHub is one only if it exists here.
func IsLocal(name string) bool {
	if name == "-" || strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return false
	}
	ref, isGit, err := dfgitutil.ParseGitRef(name)
	if !isGit || err != nil {
		return true
	}
	if ref.IndistinguishableFromLocal {
		_, err := os.Stat(name)
		return err == nil
	}
	return false
}

// Get gets the context: "-" is a tar or a Dockerfile on Stdin, a URL gives one
// or the other too, a git address a repository, and a path is of a tar.
func (c *ContextSource) Get(ctx context.Context, name string) (*Fetched, error) {
	if name == "-" {
		if c.Stdin == nil {
			return nil, errors.New("standard input is not open")
		}
		return c.stream(ctx, c.Stdin, "standard input")
	}
	if IsLocal(name) {
		return c.file(ctx, name)
	}
	ref, isGit, err := dfgitutil.ParseGitRef(name)
	if !isGit {
		return c.url(ctx, name)
	}
	if err == nil {
		err = dockerfile.CheckGit(ref)
	}
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	return c.git(ctx, ref)
}

// Close removes what was fetched.
func (c *ContextSource) Close() error {
	var errs []error
	for _, undo := range c.undo {
		errs = append(errs, undo())
	}
	c.undo = nil
	return errors.Join(errs...)
}

// dir is a new directory, until Close.
func (c *ContextSource) dir() (string, error) {
	id := "build-context-" + rand.Text()
	dir, err := c.Store.NewScratch(id)
	if err != nil {
		return "", err
	}
	c.undo = append(c.undo, func() error { return c.Store.RemoveScratch(id) })
	at := filepath.Join(dir, "context")
	return at, os.Mkdir(at, 0o755)
}

func (c *ContextSource) file(ctx context.Context, name string) (*Fetched, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	defer f.Close()
	got, err := c.stream(ctx, f, name)
	if err == nil && got.Dockerfile != nil {
		return nil, fmt.Errorf("build context %s: neither a directory nor a tar; a Dockerfile is named with -f", visible.Line(name))
	}
	return got, err
}

// stream reads a tar, or a Dockerfile for an empty context.
func (c *ContextSource) stream(ctx context.Context, r io.Reader, name string) (*Fetched, error) {
	dir, err := c.dir()
	if err != nil {
		return nil, err
	}
	plain, closer, err := plainStream(r)
	if err != nil {
		return nil, fmt.Errorf("build context from %s: %w", visible.Line(name), err)
	}
	defer closer.Close()
	if head, _ := plain.Peek(1); len(head) == 0 {
		return nil, fmt.Errorf("build context from %s: it is empty", visible.Line(name))
	}
	if !isTar(plain) {
		data, err := io.ReadAll(io.LimitReader(plain, dockerfile.MaxSize+1))
		if err != nil {
			return nil, fmt.Errorf("build context from %s: %w", visible.Line(name), err)
		}
		return &Fetched{Dir: dir, Dockerfile: strings.NewReader(string(data))}, nil
	}
	if err := extract(ctx, plain, dir); err != nil {
		return nil, fmt.Errorf("build context from %s: %w", visible.Line(name), err)
	}
	return &Fetched{Dir: dir}, nil
}

func (c *ContextSource) git(ctx context.Context, ref *dfgitutil.GitRef) (*Fetched, error) {
	dir, err := c.dir()
	if err != nil {
		return nil, err
	}
	if ref.IndistinguishableFromLocal {
		ref.Remote = "https://" + ref.Remote
	}
	g := &GitCheckout{
		Ref: ref, Dir: dir, Agent: c.Agent, KeepDir: ref.KeepGitDir != nil && *ref.KeepGitDir,
		Trail: &outbound.Trail{Host: gitHost(ref), Rules: c.Egress, Chosen: true}, Connect: c.Connect,
	}
	if _, err := g.Clone(ctx); err != nil {
		return nil, fmt.Errorf("build context %s: %w", visible.Bounded(ref.Remote, 200), err)
	}
	t, sub, err := gitTree(filepath.Join(dir, "tree"), ref)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	// The path has no symlinks any more, and nobody else writes there.
	return &Fetched{Dir: filepath.Join(t.Dir, sub)}, t.Close()
}

func (c *ContextSource) url(ctx context.Context, address string) (*Fetched, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	resp, err := do(nil, &outbound.Trail{Host: r.URL.Hostname(), Rules: c.Egress, Chosen: true}, r)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("build context %s: invalid response status %d", visible.Bounded(r.URL.Redacted(), 200), resp.StatusCode)
	}
	return c.stream(ctx, resp.Body, r.URL.Redacted())
}
