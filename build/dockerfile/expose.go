// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// exposeCommand is EXPOSE.
type exposeCommand struct {
	*instructions.ExposeCommand
	configuration
}

// expand expands to several words: EXPOSE $PORTS may hold a list.
func (c *exposeCommand) expand(x *expansion) error {
	var ports []string
	for _, word := range c.Ports {
		specs, err := x.text.words(word)
		if err != nil {
			return err
		}
		ports = append(ports, specs...)
	}
	c.Ports = ports
	return nil
}

func (c *exposeCommand) lint(_ *stagePlanner, l *linter.Linter) {
	for _, port := range c.Ports {
		if _, proto, _ := strings.Cut(port, "/"); proto != strings.ToLower(proto) {
			l.Run(&linter.RuleExposeProtoCasing, c.Location(), linter.RuleExposeProtoCasing.Format(port))
		}
		if strings.Contains(port, ":") {
			l.Run(&linter.RuleExposeInvalidFormat, c.Location(), linter.RuleExposeInvalidFormat.Format(port))
		}
	}
}

func (c *exposeCommand) plan(s *stagePlanner) (Op, error) {
	for _, spec := range c.Ports {
		ports, err := parsePorts(spec)
		if err != nil {
			return Op{}, err
		}
		for _, p := range ports {
			if s.config.Config.ExposedPorts == nil {
				s.config.Config.ExposedPorts = map[string]struct{}{}
			}
			s.config.Config.ExposedPorts[p] = struct{}{}
		}
	}
	return Op{Text: strings.Join(c.Ports, " ")}, nil
}

// parsePorts reads PORT[-PORT][/tcp|udp|sctp]. What docker takes before that and
// does not use, an address and a port of the host, is checked for its form.
func parsePorts(spec string) ([]string, error) {
	bad := hint.With(fmt.Errorf("%q is not a port", visible.Line(spec)), "write 80, 80/udp or 8000-8010/tcp")
	own := spec
	if i := strings.LastIndex(spec, ":"); i >= 0 {
		own = spec[i+1:]
		host, port := "", spec[:i]
		if j := strings.LastIndex(port, ":"); j >= 0 {
			host, port = port[:j], port[j+1:]
		}
		if strings.Contains(port, "/") || host != "" && net.ParseIP(strings.Trim(host, "[]")) == nil {
			return nil, bad
		}
		if _, err := parsePorts(port); port != "" && err != nil {
			return nil, bad
		}
	}
	ports, proto, _ := strings.Cut(strings.ToLower(own), "/")
	if proto == "" {
		proto = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
		return nil, bad
	}
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return nil, bad
	}
	last, err := strconv.ParseUint(high, 10, 16)
	if err != nil || last < first {
		return nil, bad
	}
	var out []string
	for n := first; n <= last; n++ {
		out = append(out, strconv.FormatUint(n, 10)+"/"+proto)
	}
	return out, nil
}
