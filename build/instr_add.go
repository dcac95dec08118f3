// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// addCommand is ADD, which copies from the context, fetches what is elsewhere,
// and unpacks archives.
type addCommand struct{ *instructions.AddCommand }

func (*addCommand) check(func(string)) error { return nil }

func (*addCommand) sources(finder) ([]origin, error) { return nil, nil }

func (c *addCommand) expand(x *expansion) error { return x.all(c.AddCommand) }

func (c *addCommand) lint(s *stagePlanner, l *linter.Linter) {
	s.lintIgnored(l, "Add", c.SourcePaths, c.Location())
}

func (c *addCommand) plan(s *stagePlanner) (op, error) {
	return s.copy(c.SourcesAndDest, "", &copyOp{
		Add: true, From: origin{Kind: fromContext}, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Exclude: c.ExcludePatterns,
		Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Unpack: c.Unpack,
	})
}
