// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"os"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

func stateCommand() command {
	return command{
		name: "state", args: "ID", min: 1, max: 1,
		about: "Print the state of a container as JSON",
		setup: func(*flag.FlagSet) func(global, []string) (int, error) {
			return func(g global, args []string) (int, error) {
				s, err := g.State(args[0])
				if err != nil {
					return 0, err
				}
				enc := json.NewEncoder(visible.JSONWriter(os.Stdout))
				enc.SetIndent("", "  ")
				return 0, enc.Encode(s)
			}
		},
	}
}
