// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strconv"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// stopsignalCommand is STOPSIGNAL.
type stopsignalCommand struct {
	*instructions.StopSignalCommand
	configuration
	unchecked
}

func (c *stopsignalCommand) expand(x *expansion) error { return x.all(c.StopSignalCommand) }

func (c *stopsignalCommand) plan(s *stagePlanner) (Op, error) {
	if err := checkSignal(c.Signal); err != nil {
		return Op{}, err
	}
	s.config.Config.StopSignal = c.Signal
	return Op{Text: c.Signal}, nil
}

// checkSignal accepts what a runtime will: a number or a name, SIG or not.
func checkSignal(s string) error {
	if _, err := dockerflag.ParseSignal(s); err == nil {
		return nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		return fmt.Errorf("%d is not a signal", n)
	}
	return hint.With(fmt.Errorf("%q is not a signal", visible.Bounded(s, 40)), "for example SIGTERM or 15")
}
