// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// cmdCommand is CMD.
type cmdCommand struct {
	*instructions.CmdCommand
	noSources
	verbatim
}

func (c *cmdCommand) check(warn func(string)) error {
	warnForm(c, c.ShellDependantCmdLine, warn)
	return checkNoHeredoc("CMD", c.ShellDependantCmdLine)
}

func (c *cmdCommand) lint(s *stagePlanner, l *linter.Linter) { s.lintEntry(l, c, c.PrependShell) }

func (c *cmdCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Config.Cmd, s.cmdSet = s.commandLine(c.ShellDependantCmdLine), true
	return Op{Text: jsonList(s.config.Config.Cmd)}, nil
}
