// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import "github.com/moby/buildkit/frontend/dockerfile/instructions"

// maintainerCommand is MAINTAINER.
type maintainerCommand struct {
	*instructions.MaintainerCommand
	configuration
	verbatim
	unchecked
}

func (c *maintainerCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Author = c.Maintainer
	return Op{Text: c.Maintainer}, nil
}
