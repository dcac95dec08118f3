// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// volumeCommand is VOLUME.
type volumeCommand struct {
	*instructions.VolumeCommand
	configuration
	unchecked
}

func (c *volumeCommand) expand(x *expansion) error { return x.all(c.VolumeCommand) }

func (c *volumeCommand) plan(s *stagePlanner) (Op, error) {
	for _, v := range c.Volumes {
		if v == "" {
			return Op{}, errors.New("a path is empty after expansion")
		}
		if s.config.Config.Volumes == nil {
			s.config.Config.Volumes = map[string]struct{}{}
		}
		s.config.Config.Volumes[v] = struct{}{}
	}
	return Op{Text: jsonList(c.Volumes)}, nil
}
