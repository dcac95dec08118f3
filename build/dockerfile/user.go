// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import "github.com/moby/buildkit/frontend/dockerfile/instructions"

// userCommand is USER. Whether there is such an account is seen where a step
// needs it.
type userCommand struct {
	*instructions.UserCommand
	configuration
	unchecked
}

func (c *userCommand) expand(x *expansion) error { return x.all(c.UserCommand) }

func (c *userCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Config.User = c.User
	return Op{Text: c.User}, nil
}
