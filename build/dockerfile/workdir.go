// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

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

func (c *workdirCommand) plan(s *stagePlanner) (Op, error) {
	dir := absolute(s.dir(), c.Path)
	text := dir
	switch {
	case path.IsAbs(c.Path): // as it was written, slashes and all
		text = c.Path
	case c.Path == "" && s.config.Config.WorkingDir != "":
		text = s.config.Config.WorkingDir
	}
	s.config.Config.WorkingDir = text
	return Op{Text: text, Action: &Mkdir{Path: dir, User: s.config.Config.User}}, nil
}

// Mkdir is a directory that must exist.
type Mkdir struct {
	Path string `json:"path"`
	// User owns it if it has to be made.
	User string `json:"user,omitempty"`
}

func (*Mkdir) action() {}

// Sources implements Action.
func (*Mkdir) Sources() []Origin { return nil }

// Key implements Action.
func (d *Mkdir) Key() (string, any) { return "workdir", d }

// Linked implements Action.
func (*Mkdir) Linked() bool { return false }

// Open implements Action.
func (*Mkdir) Open(context.Context, Executor) (string, error) { return "", nil }

// Apply implements Action.
func (d *Mkdir) Apply(ctx context.Context, x Executor) error { return x.Mkdir(ctx, d) }
