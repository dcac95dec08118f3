// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox"
)

func (a sandboxCommands) updateCommand() *cobra.Command {
	f := &limitFlags{}
	cmd := &cobra.Command{
		Use:   "update [OPTIONS] SANDBOX...",
		Short: "Update the limits of running sandboxes",
		Long: `Update the limits of running sandboxes. Limits that are not given stay as they are.
Each limit is read back from the kernel; if the kernel refuses one, all old limits
stay.`,
		Example: `  cpc update --memory 1g --pids-limit 200 work`,
		Args:    wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return usageErrorf(cmd, "name at least one limit to change, such as --memory")
			}
			// What makes no sense for any sandbox is said once.
			if err := f.apply(cmd.Flags().Changed, &cgroups.Limits{}); err != nil {
				return usageError{err}
			}
			return a.each(cmd, args, func(e *sandbox.Engine, name string) error {
				return e.Update(cmd.Context(), name, func(l *cgroups.Limits) error {
					if err := f.apply(cmd.Flags().Changed, l); err != nil {
						return err
					}
					return a.withinMinimum(*l)
				})
			})
		},
	}
	f.register(cmd.Flags(), "", "", "")
	f.registerOOM(cmd.Flags(), "")
	return cmd
}

func (a sandboxCommands) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pause SANDBOX...", Short: "Pause all processes of sandboxes", Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(e *sandbox.Engine, name string) error { return e.Pause(cmd.Context(), name) })
		},
	}
}

func (a sandboxCommands) unpauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unpause SANDBOX...", Short: "Unpause sandboxes", Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(e *sandbox.Engine, name string) error { return e.Unpause(cmd.Context(), name) })
		},
	}
}
