// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// Change applies instructions that change an image's configuration only, which
// is what docker import --change takes: a line of a Dockerfile each.
func Change(cfg rootfs.Config, lines []string) (rootfs.Config, error) {
	s := &stagePlanner{plan: &Plan{File: &File{escape: '\\'}}, config: cloneConfig(cfg)}
	s.scope.env = slices.Clone(cfg.Config.Env)
	for _, line := range lines {
		if err := s.change(line); err != nil {
			return cfg, fmt.Errorf("change %q: %w", visible.Line(line), err)
		}
	}
	s.config.Config.Env = s.scope.env
	return s.config, nil
}

func (s *stagePlanner) change(line string) error {
	cmd, err := parseTrigger(line, nil)
	if err != nil {
		return err
	}
	if !kindOf(cmd).change {
		return fmt.Errorf("%s changes more than the configuration", strings.ToUpper(cmd.Name()))
	}
	_, err = s.apply(cmd)
	return err
}
