// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// entrypointCommand is ENTRYPOINT. The base's CMD, which was for another
// program, goes with it.
type entrypointCommand struct {
	*instructions.EntrypointCommand
	noSources
	verbatim
}

func (c *entrypointCommand) check(warn func(string)) error {
	warnForm(c, c.ShellDependantCmdLine, warn)
	return checkNoHeredoc("ENTRYPOINT", c.ShellDependantCmdLine)
}

func (c *entrypointCommand) lint(s *stagePlanner, l *linter.Linter) {
	s.lintEntry(l, c, c.PrependShell)
}

func (c *entrypointCommand) plan(s *stagePlanner) (Op, error) {
	cfg := &s.config.Config
	cfg.Entrypoint = s.commandLine(c.ShellDependantCmdLine)
	if !s.cmdSet {
		cfg.Cmd = nil
	}
	return Op{Text: jsonList(cfg.Entrypoint)}, nil
}
