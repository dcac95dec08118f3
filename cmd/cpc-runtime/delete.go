// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "flag"

func deleteCommand() command {
	return command{
		name: "delete", args: "ID", min: 1, max: 1,
		about: "Remove a container that has ended",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			force := flagAlias(fs, "force", "f", "kill it first; remove a damaged one; none is no error")
			return func(g global, args []string) (int, error) { return 0, g.Delete(args[0], *force) }
		},
	}
}
