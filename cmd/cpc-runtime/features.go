// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"os"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

func featuresCommand() command {
	return command{
		name:  "features",
		about: "Print what this runtime implements, as the OCI features document",
		setup: func(*flag.FlagSet) func(g global, _ []string) (int, error) {
			return func(g global, _ []string) (int, error) {
				enc := json.NewEncoder(visible.JSONWriter(os.Stdout))
				enc.SetIndent("", "  ")
				return 0, enc.Encode(g.Features())
			}
		},
	}
}
