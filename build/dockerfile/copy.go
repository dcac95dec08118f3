// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// copyCommand is COPY.
type copyCommand struct{ *instructions.CopyCommand }

func (*copyCommand) check(func(string)) error { return nil }

func (c *copyCommand) sources(find finder) ([]Origin, error) {
	from, err := find("COPY --from", c.From)
	return []Origin{from}, err
}

func (c *copyCommand) expand(x *expansion) error { return x.all(c.CopyCommand) }

func (c *copyCommand) lint(s *stagePlanner, l *linter.Linter) {
	if c.From == "" {
		s.lintIgnored(l, "Copy", c.SourcePaths, c.Location())
	}
}

func (c *copyCommand) plan(s *stagePlanner) (Op, error) {
	from, err := s.plan.originOf("COPY --from", c.From, s.index)
	if err != nil {
		return Op{}, err
	}
	return s.copy(c.SourcesAndDest, c.From, &Copy{
		From: from, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns,
	})
}

// Copy is files to copy; Add means ADD, which unpacks archives.
type Copy struct {
	Add         bool         `json:"add,omitempty"`
	From        Origin       `json:"from"`
	SourcePaths []string     `json:"sources,omitempty"`
	Inline      []InlineFile `json:"inline,omitempty"`
	Dest        string       `json:"dest"`
	// IsDir: the destination was written with a slash at its end.
	IsDir bool   `json:"isDir,omitempty"`
	Chown string `json:"chown,omitempty"`
	Chmod string `json:"chmod,omitempty"`
	// Link: the files make a layer that does not depend on those below.
	Link bool `json:"link,omitempty"`
	// Parents: what leads to a file in its source is kept at the destination.
	Parents bool     `json:"parents,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Checksum, KeepGitDir and Unpack are ADD's.
	Checksum   string `json:"checksum,omitempty"`
	KeepGitDir *bool  `json:"keepGitDir,omitempty"`
	Unpack     *bool  `json:"unpack,omitempty"`
}

// InlineFile is a file whose text is in the Dockerfile.
type InlineFile struct {
	Name string `json:"name"`
	Data string `json:"data"`
}

func (*Copy) action() {}

// Sources implements Action.
func (c *Copy) Sources() []Origin { return []Origin{c.From} }

// Key implements Action. It leaves the sources out: their content stands for them, wherever they came
// from.
func (c *Copy) Key() (string, any) {
	k := *c
	k.From, k.SourcePaths, k.Inline = Origin{}, nil, nil
	return "copy", &k
}

// Linked implements Action. As in BuildKit, --chmod does not go with --link.
func (c *Copy) Linked() bool { return c.Link && c.Chmod == "" }

// Open implements Action.
func (c *Copy) Open(ctx context.Context, x Executor) (string, error) { return x.OpenSources(ctx, c) }

// Apply implements Action.
func (c *Copy) Apply(ctx context.Context, x Executor) error { return x.Copy(ctx, c) }

// Unpacks reports whether archives are unpacked: by ADD, unless --unpack says
// otherwise, those that are not remote.
func (c *Copy) Unpacks(remote bool) bool {
	if c.Unpack != nil {
		return *c.Unpack
	}
	return c.Add && !remote
}

// copy plans the sources and the destination of COPY and ADD; from is as it was
// written.
func (s *stagePlanner) copy(c instructions.SourcesAndDest, from string, cp *Copy) (Op, error) {
	// As in BuildKit, a source that is empty after expansion is everything, and
	// such a destination the working directory.
	for i, src := range c.SourcePaths {
		if src == "" {
			c.SourcePaths[i] = "."
		}
	}
	if c.DestPath == "" {
		c.DestPath = "./"
	}
	words := slices.Clone(c.SourcePaths)
	for _, f := range c.SourceContents {
		name := path.Base(path.Clean("/" + f.Path))
		if name == "/" {
			return Op{}, fmt.Errorf("heredoc name %q is not a file name", visible.Line(f.Path))
		}
		cp.Inline = append(cp.Inline, InlineFile{Name: name, Data: f.Data})
		words = append(words, "<<"+f.Path)
	}
	cp.SourcePaths = c.SourcePaths
	if strings.ContainsRune(c.DestPath, 0) {
		return Op{}, errors.New("the destination contains a NUL byte")
	}
	cp.IsDir = strings.HasSuffix(c.DestPath, "/") || path.Base(c.DestPath) == "." || path.Base(c.DestPath) == ".."
	cp.Dest = absolute(s.dir(), c.DestPath)
	if err := cp.check(); err != nil {
		return Op{}, err
	}
	return Op{Action: cp, Text: strings.Join(slices.Concat(cp.flags(from), words, []string{c.DestPath}), " ")}, nil
}
