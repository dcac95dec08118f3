// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"

	"github.com/claude-pocket-console/cpc/runtime"
)

func specCommand() command {
	return command{
		name:  "spec",
		about: "Write an example config.json",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var bundle string
			stringAlias(fs, &bundle, "bundle", "b", "write it in this `dir` (default: the current one)")
			rootless := fs.Bool("rootless", false, "for an ordinary user")
			return func(global, []string) (int, error) { return 0, runtime.WriteExample(bundle, *rootless) }
		},
	}
}
