// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

func listCommand() command {
	return command{
		name:  "list",
		about: "List the containers of a state directory",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var format string
			stringAlias(fs, &format, "format", "f", "`table` or json")
			quiet := flagAlias(fs, "quiet", "q", "ids only")
			return func(g global, _ []string) (int, error) { return 0, printList(g, format, *quiet) }
		},
	}
}

func printList(g global, format string, quiet bool) error {
	if format != "" && format != "table" && format != "json" {
		return fmt.Errorf("list: invalid format option %q: want table or json", format)
	}
	states, err := g.List(!g.rootGiven)
	if err != nil {
		return err
	}
	switch {
	case quiet:
		for _, s := range states {
			fmt.Fprintln(os.Stdout, visible.Line(s.ID))
		}
		return nil
	case format == "json":
		return json.NewEncoder(visible.JSONWriter(os.Stdout)).Encode(states)
	}
	w := tabwriter.NewWriter(visible.Writer(os.Stdout), 12, 1, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, visible.Line(s.Bundle), s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return w.Flush()
}
