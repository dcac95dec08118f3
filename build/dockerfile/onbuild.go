// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// onbuildCommand is ONBUILD, whose instruction is for the stages and images that
// are built on this one.
type onbuildCommand struct {
	*instructions.OnbuildCommand
	configuration
	verbatim
	unchecked
}

func (c *onbuildCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Docker.OnBuild = append(slices.Clone(s.config.Docker.OnBuild), c.Expression)
	return Op{Text: c.Expression}, nil
}
