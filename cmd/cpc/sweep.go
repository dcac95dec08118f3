// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox"
)

func (a systemCommands) sweepCommand() *cobra.Command {
	return &cobra.Command{
		Use: "sweep", Short: "Clean up after sandboxes whose monitor was killed", Args: wants(0, 0),
		Long: `Remove the cgroup, the scratch space and the state of sandboxes whose monitor was
killed, and the remains of killed builds. Running sandboxes are not touched. Every
command that looks at sandboxes does the same; this one is for a timer
(deploy/systemd).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := sandbox.Open(a.runtime)
			if err != nil {
				return err
			}
			n, err := e.SweepCounting()
			if err == nil && n > 0 {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "cleaned up after %d\n", n)
			}
			if err != nil {
				return err
			}
			strays, err := e.Set.Strays()
			for _, path := range strays {
				_, printErr := fmt.Fprintf(cmd.OutOrStdout(), "%s is not of cpc: delete it\n", visible.Text(path))
				err = errors.Join(err, printErr)
			}
			return err
		},
	}
}
