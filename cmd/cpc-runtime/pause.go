// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "flag"

func pauseCommand() command {
	return command{
		name: "pause", args: "ID", min: 1, max: 1,
		about: "Stop every process of a container",
		setup: func(*flag.FlagSet) func(global, []string) (int, error) {
			return func(g global, args []string) (int, error) { return 0, g.Pause(args[0]) }
		},
	}
}

func resumeCommand() command {
	return command{
		name: "resume", args: "ID", min: 1, max: 1,
		about: "Let a paused container go on",
		setup: func(*flag.FlagSet) func(global, []string) (int, error) {
			return func(g global, args []string) (int, error) { return 0, g.Resume(args[0]) }
		},
	}
}
