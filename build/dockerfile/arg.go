// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// argCommand is ARG. Each of its values may use those before it, so that it
// expands them where it is planned.
type argCommand struct {
	*instructions.ArgCommand
	configuration
	verbatim
}

func (c *argCommand) lint(_ *stagePlanner, l *linter.Linter) {
	for _, a := range c.Args {
		lintSecret(l, "ARG", a.Key, c.Location())
	}
}

// plan declares build arguments: --build-arg, then the default, then a global
// ARG of that name, then the automatic ones.
func (c *argCommand) plan(s *stagePlanner) (Op, error) {
	var shown []string
	for _, a := range c.Args {
		name := a.Key
		value, ok := s.plan.args[name]
		if !ok && a.Value != nil {
			var err error
			x := newExpander(s.plan.File.escape, s.scope.values())
			if value, err = x.word(*a.Value); err != nil {
				return Op{Name: "ARG " + visible.Line(name)}, err
			}
			ok = true
			s.lintVariables(x, c.ArgCommand)
		}
		s.seen.declared = append(s.seen.declared, name)
		if !ok {
			value, ok = s.plan.Globals[name]
		}
		if !ok {
			shown = append(shown, name)
			continue
		}
		s.scope.setArg(name, value)
		shown = append(shown, name+"="+value)
	}
	return Op{Text: strings.Join(shown, " ")}, nil
}
