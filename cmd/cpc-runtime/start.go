// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "flag"

func startCommand() command {
	return command{
		name: "start", args: "ID", min: 1, max: 1,
		about: "Start the program of a created container",
		setup: func(*flag.FlagSet) func(global, []string) (int, error) {
			return func(g global, args []string) (int, error) { return 0, g.Start(args[0]) }
		},
	}
}
