// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command cpc builds, runs and looks after sandboxes.
package main

import (
	"os"

	"github.com/claude-pocket-console/cpc/host"
	"github.com/claude-pocket-console/cpc/sandbox/files"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
)

func main() {
	os.Exit(dispatch(os.Args))
}

// dispatch finds out which of cpc's processes this is. The roles are those of
// the copies that cpc starts of itself; they take their orders by hand-off.
func dispatch(args []string) int {
	if len(args) > 1 {
		switch args[1] {
		case monitor.Role:
			return monitor.Main(explain)
		case monitor.SweepRole:
			return monitor.SweepMain()
		case files.Role:
			return files.Main()
		case host.Role:
			return host.TrialMain()
		case workerRole:
			return workerMain()
		}
	}
	return execute(args[1:], nil)
}
