// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "flag"

func killCommand() command {
	return command{
		name: "kill", args: "ID [SIGNAL]", min: 1, max: 2, stopAtFirst: true,
		about: "Send a signal (default TERM) to a container's init",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			all := flagAlias(fs, "all", "a", "a container that has ended is no error")
			return func(g global, args []string) (int, error) {
				signal := "TERM"
				if len(args) == 2 {
					signal = args[1]
				}
				return 0, g.Kill(args[0], signal, *all)
			}
		},
	}
}
