// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// labelCommand is LABEL.
type labelCommand struct {
	*instructions.LabelCommand
	configuration
}

func (c *labelCommand) expand(x *expansion) error { return x.all(c.LabelCommand) }

func (c *labelCommand) lint(_ *stagePlanner, l *linter.Linter) {
	for _, kv := range c.Labels {
		lintPair(l, c.Name(), kv, c.Location())
	}
}

func (c *labelCommand) plan(s *stagePlanner) (Op, error) {
	var shown []string
	for _, kv := range c.Labels {
		if kv.Key == "" {
			return Op{}, errors.New("a label's name is empty")
		}
		if s.config.Config.Labels == nil {
			s.config.Config.Labels = map[string]string{}
		}
		s.config.Config.Labels[kv.Key] = kv.Value
		shown = append(shown, kv.String())
	}
	return Op{Text: strings.Join(shown, " ")}, nil
}
