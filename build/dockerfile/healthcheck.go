// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// healthcheckCommand is HEALTHCHECK.
type healthcheckCommand struct {
	*instructions.HealthCheckCommand
	configuration
	verbatim
}

func (c *healthcheckCommand) lint(s *stagePlanner, l *linter.Linter) { s.lintEntry(l, c, false) }

func (c *healthcheckCommand) plan(s *stagePlanner) (Op, error) {
	s.config.Docker.Healthcheck = &rootfs.Healthcheck{
		Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
		StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries,
	}
	_, text, _ := strings.Cut(oneLine(c.String()), " ")
	return Op{Text: text}, nil
}
