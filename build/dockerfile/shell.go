// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// shellCommand is SHELL.
type shellCommand struct {
	*instructions.ShellCommand
	configuration
	verbatim
	unchecked
}

func (c *shellCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Docker.Shell = slices.Clone(c.Shell)
	return Op{Text: jsonList(c.Shell)}, nil
}
