// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"

	"github.com/claude-pocket-console/cpc/runtime"
)

func runCommand() command {
	return command{
		name: "run", args: "ID", min: 1, max: 1,
		about: "Create and start a container, wait for its end and delete it",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var o runtime.RunOptions
			createFlags(fs, &o.CreateOptions)
			fs.BoolVar(&o.Keep, "keep", false, "do not delete the container at its end")
			fs.BoolVar(&o.NoSubreaper, "no-subreaper", false, "do not adopt the container's orphans")
			detach := flagAlias(fs, "detach", "d", "do not wait")
			return func(g global, args []string) (int, error) {
				o.Detach = *detach
				return g.Run(args[0], o)
			}
		},
	}
}
