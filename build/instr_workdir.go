// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"path"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// workdirCommand is WORKDIR, which also makes the directory.
type workdirCommand struct {
	*instructions.WorkdirCommand
	configuration
}

func (c *workdirCommand) expand(x *expansion) error { return x.all(c.WorkdirCommand) }

func (c *workdirCommand) lint(s *stagePlanner, l *linter.Linter) {
	if !s.seen.workdirSet && !path.IsAbs(c.Path) {
		l.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(c.Path))
	}
	s.seen.workdirSet = true
}

func (c *workdirCommand) plan(s *stagePlanner) (op, error) {
	dir := absolute(s.dir(), c.Path)
	text := dir
	switch {
	case path.IsAbs(c.Path): // as it was written, slashes and all
		text = c.Path
	case c.Path == "" && s.config.Config.WorkingDir != "":
		text = s.config.Config.WorkingDir
	}
	s.config.Config.WorkingDir = text
	return op{Text: text, action: &workdir{Path: dir, User: s.config.Config.User}}, nil
}

// workdir is a directory that must exist.
type workdir struct {
	Path string `json:"path"`
	// User owns it if it has to be made.
	User string `json:"user,omitempty"`
}

func (*workdir) sources() []origin { return nil }

func (d *workdir) key() (string, any) { return "workdir", d }

func (*workdir) linked() bool { return false }

func (*workdir) open(context.Context, executor) (string, error) { return "", nil }

func (d *workdir) apply(ctx context.Context, x executor) error { return x.mkdir(ctx, d) }
