// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// addCommand is ADD, which copies from the context, fetches what is elsewhere,
// and unpacks archives.
type addCommand struct{ *instructions.AddCommand }

func (*addCommand) check(func(string)) error { return nil }

func (*addCommand) sources(finder) ([]Origin, error) { return nil, nil }

func (c *addCommand) expand(x *expansion) error { return x.all(c.AddCommand) }

func (c *addCommand) lint(s *stagePlanner, l *linter.Linter) {
	s.lintIgnored(l, "Add", c.SourcePaths, c.Location())
}

func (c *addCommand) plan(s *stagePlanner) (Op, error) {
	return s.copy(c.SourcesAndDest, "", &Copy{
		Add: true, From: Origin{Kind: FromContext}, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Exclude: c.ExcludePatterns,
		Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Unpack: c.Unpack,
	})
}
