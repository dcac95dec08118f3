// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// envCommand is ENV.
type envCommand struct {
	*instructions.EnvCommand
	configuration
}

func (c *envCommand) expand(x *expansion) error { return x.all(c.EnvCommand) }

func (c *envCommand) lint(_ *stagePlanner, l *linter.Linter) {
	for _, kv := range c.Env {
		lintPair(l, c.Name(), kv, c.Location())
		lintSecret(l, "ENV", kv.Key, c.Location())
	}
}

func (c *envCommand) plan(s *stagePlanner) (Op, error) {
	var shown []string
	for _, kv := range c.Env {
		if kv.Key == "" || strings.ContainsAny(kv.Key, "=\x00") || strings.ContainsRune(kv.Value, 0) {
			return Op{}, fmt.Errorf("%q is not a variable name", visible.Line(kv.Key))
		}
		if err := s.scope.setEnv(kv.Key, kv.Value); err != nil {
			return Op{}, err
		}
		shown = append(shown, kv.String())
	}
	return Op{Text: strings.Join(shown, " ")}, nil
}
