// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/runtime"
)

func eventsCommand() command {
	return command{
		name: "events", args: "ID", min: 1, max: 1,
		about: "Print what a container uses, and when it runs out of memory",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			interval := fs.Duration("interval", 5*time.Second, "time between two prints of what is used")
			once := fs.Bool("stats", false, "print what is used once")
			return func(g global, args []string) (int, error) {
				enc := json.NewEncoder(visible.JSONWriter(os.Stdout))
				if !*once {
					return 0, g.Watch(args[0], *interval, func(e *runtime.Event) error { return enc.Encode(e) })
				}
				e, err := g.Stats(args[0])
				if err != nil {
					return 0, err
				}
				return 0, enc.Encode(e)
			}
		},
	}
}
