// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

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

func (c *copyCommand) sources(find finder) ([]origin, error) {
	from, err := find("COPY --from", c.From)
	return []origin{from}, err
}

func (c *copyCommand) expand(x *expansion) error { return x.all(c.CopyCommand) }

func (c *copyCommand) lint(s *stagePlanner, l *linter.Linter) {
	if c.From == "" {
		s.lintIgnored(l, "Copy", c.SourcePaths, c.Location())
	}
}

func (c *copyCommand) plan(s *stagePlanner) (op, error) {
	from, err := s.plan.originOf("COPY --from", c.From, s.index)
	if err != nil {
		return op{}, err
	}
	return s.copy(c.SourcesAndDest, c.From, &copyOp{
		From: from, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns,
	})
}

// copyOp is files to copy; Add means ADD, which unpacks archives.
type copyOp struct {
	Add     bool         `json:"add,omitempty"`
	From    origin       `json:"from"`
	Sources []string     `json:"sources,omitempty"`
	Inline  []inlineFile `json:"inline,omitempty"`
	Dest    string       `json:"dest"`
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

// inlineFile is a file whose text is in the Dockerfile.
type inlineFile struct {
	Name string `json:"name"`
	Data string `json:"data"`
}

func (c *copyOp) sources() []origin { return []origin{c.From} }

// key leaves the sources out: their content stands for them, wherever they came
// from.
func (c *copyOp) key() (string, any) {
	k := *c
	k.From, k.Sources, k.Inline = origin{}, nil, nil
	return "copy", &k
}

// linked: as in BuildKit, --chmod does not go with --link.
func (c *copyOp) linked() bool { return c.Link && c.Chmod == "" }

func (c *copyOp) open(ctx context.Context, x executor) (string, error) { return x.openSources(ctx, c) }

func (c *copyOp) apply(ctx context.Context, x executor) error { return x.copy(ctx, c) }

// unpacks reports whether archives are unpacked: by ADD, unless --unpack says
// otherwise, those that are not remote.
func (c *copyOp) unpacks(remote bool) bool {
	if c.Unpack != nil {
		return *c.Unpack
	}
	return c.Add && !remote
}

// copy plans the sources and the destination of COPY and ADD; from is as it was
// written.
func (s *stagePlanner) copy(c instructions.SourcesAndDest, from string, cp *copyOp) (op, error) {
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
			return op{}, fmt.Errorf("heredoc name %q is no file name", visible.Line(f.Path))
		}
		cp.Inline = append(cp.Inline, inlineFile{Name: name, Data: f.Data})
		words = append(words, "<<"+f.Path)
	}
	cp.Sources = c.SourcePaths
	if strings.ContainsRune(c.DestPath, 0) {
		return op{}, errors.New("the destination contains a NUL byte")
	}
	cp.IsDir = strings.HasSuffix(c.DestPath, "/") || path.Base(c.DestPath) == "." || path.Base(c.DestPath) == ".."
	cp.Dest = absolute(s.dir(), c.DestPath)
	if err := cp.check(); err != nil {
		return op{}, err
	}
	return op{action: cp, Text: strings.Join(slices.Concat(cp.flags(from), words, []string{c.DestPath}), " ")}, nil
}
