// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"os"

	"github.com/claude-pocket-console/cpc/runtime"
)

func featuresCommand() command {
	return command{
		name:  "features",
		about: "Print what this runtime implements, as the OCI features document",
		setup: func(*flag.FlagSet) func(global, []string) (int, error) {
			return func(global, []string) (int, error) {
				enc := json.NewEncoder(os.Stdout)
				enc.SetIndent("", "  ")
				return 0, enc.Encode(runtime.Features())
			}
		},
	}
}
