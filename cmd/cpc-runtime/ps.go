// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

func psCommand() command {
	return command{
		name: "ps", args: "ID [PS OPTION...]", min: 1, max: -1, stopAtFirst: true,
		about: "List the processes of a container",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			format := "table"
			for _, name := range []string{"format", "f"} {
				fs.StringVar(&format, name, format, "`table` or json (process ids)")
			}
			return func(g global, args []string) (int, error) { return 0, printProcesses(g, format, args) }
		},
	}
}

func printProcesses(g global, format string, args []string) error {
	switch format {
	case "json":
		pids, err := g.Processes(args[0])
		if err != nil {
			return err
		}
		return json.NewEncoder(visible.JSONWriter(os.Stdout)).Encode(pids)
	case "table":
		table, err := g.ProcessTable(args[0], args[1:])
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(visible.Writer(os.Stdout), table)
		return err
	}
	return fmt.Errorf("ps: invalid format option %q: want table or json", format)
}
