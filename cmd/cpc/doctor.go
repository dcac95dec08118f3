// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/host"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

func (a systemCommands) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor [OPTIONS]", Short: "Check whether this machine is ready to run sandboxes", Args: wants(0, 0),
		Long: `Check whether this machine is ready to run sandboxes for the calling user. Each
check tries a feature that sandboxes need; each failure comes with the command
that fixes it. The exit status is 0 if the machine is ready (warnings are allowed)
and 1 if it is not. The command changes nothing.`,
		Example: `  cpc doctor
  cpc doctor --json | jq '.checks[] | select(.status == "fail")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dirs.Find()
			if err != nil {
				return err
			}
			o := host.Options{Dirs: d, Limits: bundle.Defaults().Limits}
			o.Runtime, o.RuntimeErr = sandbox.FindRuntime(a.runtime)
			facts, err := host.Probe(o)
			if err != nil {
				return err
			}
			return report(cmd.OutOrStdout(), host.Evaluate(facts), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print a JSON object")
	return cmd
}

// report prints the checks; its error is the exit status.
func report(w io.Writer, checks []host.Check, asJSON bool) error {
	ready := host.Ready(checks)
	err := error(nil)
	if asJSON {
		err = printJSON(w, struct {
			Ready  bool         `json:"ready"`
			Checks []host.Check `json:"checks"`
		}{ready, checks})
	} else {
		_, err = io.WriteString(w, describeChecks(checks))
	}
	if err == nil && !ready {
		return exitStatus(defaultFailure)
	}
	return err
}

// describeChecks is for people: a line a check, and what to do below it.
func describeChecks(checks []host.Check) string {
	var b strings.Builder
	count := map[host.Status]int{}
	for _, c := range checks {
		count[c.Status]++
		word := string(c.Status)
		if c.Status == host.Fail {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%-8s %-24s %s\n", word, c.Name, c.Found)
		if c.Status != host.Fail && c.Status != host.Warn {
			continue
		}
		fmt.Fprintf(&b, "%9swhy:  %s\n", "", c.Why)
		if c.Fix != "" {
			fmt.Fprintf(&b, "%9sfix: %s\n", "", strings.ReplaceAll(c.Fix, "\n", "\n"+strings.Repeat(" ", 14)))
		}
	}
	verdict := "ready"
	if !host.Ready(checks) {
		verdict = "not ready"
	}
	fmt.Fprintf(&b, "%s: %d ok, %d to look at, %d failed, %d skipped\n", verdict, count[host.OK], count[host.Warn], count[host.Fail], count[host.Skipped])
	return b.String()
}
