// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"

	"github.com/claude-pocket-console/cpc/runtime"
)

func createCommand() command {
	return command{
		name: "create", args: "ID", min: 1, max: 1,
		about: "Make a container from a bundle, without starting its program",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var o runtime.CreateOptions
			createFlags(fs, &o)
			return func(g global, args []string) (int, error) { return 0, g.Create(args[0], o) }
		},
	}
}

func createFlags(fs *flag.FlagSet, o *runtime.CreateOptions) {
	stringAlias(fs, &o.Bundle, "bundle", "b", "`dir` with config.json (default: the current one)")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "send the terminal's master to the unix socket `path`")
	fs.StringVar(&o.PidfdSocket, "pidfd-socket", "", "send a pidfd of init to the unix socket `path`")
	fs.StringVar(&o.PidFile, "pid-file", "", "write init's pid to `file`")
	fs.BoolVar(&o.NoPivot, "no-pivot", false, "move the root mount instead of pivoting to it")
	fs.BoolVar(&o.NoNewKeyring, "no-new-keyring", false, "keep the caller's session keyring")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass descriptors 3 to 3+`N`-1 on")
}
