// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"maps"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/config"
)

// Host says how a registry is reached.
type Host = config.Registry

// Hosts returns how registries are reached. What the user says of one replaces
// what the administrator says.
func Hosts(c config.Config) (map[string]Host, error) {
	all := make(map[string]Host)
	for _, f := range []config.File{c.System, c.User} {
		if err := checkHosts(f.Registries); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", f.Path, err)
		}
		maps.Copy(all, f.Registries)
	}
	return all, nil
}

func checkHosts(hosts map[string]Host) error {
	for h, conf := range hosts {
		if h == "" || strings.ContainsAny(h, "/@ ") {
			return fmt.Errorf("registries.%q: must be host or host:port, without https://", h)
		}
		for _, m := range conf.Mirrors {
			if m == "" || strings.Contains(m, "://") || strings.HasSuffix(m, "/") {
				return fmt.Errorf("registries.%q: mirror %q: must be host[:port][/path], without https://", h, m)
			}
		}
		if (conf.Cert == "") != (conf.Key == "") {
			return fmt.Errorf("registries.%q: cert and key come together", h)
		}
	}
	return nil
}
