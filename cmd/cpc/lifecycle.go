// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// engine opens the caller's sandboxes, after removing what dead ones left. If
// that fails, as on a full disk, the command may still be what mends it.
func (a *app) engine() (*sandbox.Engine, error) {
	e, err := sandbox.Open(a.runtime)
	if err != nil {
		return nil, err
	}
	if err := e.Sweep(); err != nil {
		fmt.Fprintln(stderr(), "cpc: warning:", err)
	}
	return e, nil
}

// each does something to every named sandbox, side by side, and prints the names
// for which it worked; errors do not keep it from the rest.
func (a sandboxCommands) each(cmd *cobra.Command, names []string, do func(e *sandbox.Engine, name string) error) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return sideBySide(cmd.OutOrStdout(), names, func(name string) (string, error) { return name, do(e, name) })
}

func (a sandboxCommands) stopCommand() *cobra.Command {
	var timeout int
	var signalName string
	cmd := &cobra.Command{
		Use: "stop [OPTIONS] SANDBOX...", Short: "Stop running sandboxes",
		Args: wants(1, many),
	}
	cmd.Flags().IntVarP(&timeout, "time", "t", 0, "`SECONDS` to wait before killing the sandbox; -1 waits forever (default: --stop-timeout of cpc run, 10)")
	cmd.Flags().IntVar(&timeout, "timeout", 0, "The same as --time, in `SECONDS`")
	cmd.Flags().StringVarP(&signalName, "signal", "s", "", "`SIGNAL` to send (default: the stop signal of the sandbox)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given := cmd.Flags().Changed("time") || cmd.Flags().Changed("timeout")
		return a.each(cmd, args, func(e *sandbox.Engine, name string) error {
			entry, err := e.Set.Find(name)
			if err != nil || entry.Record.Status == record.Exited {
				return err // stopping what has ended is no error, as with docker
			}
			sig, err := stopSignal(signalName, entry.Record)
			if err != nil {
				return usageError{err}
			}
			wait := entry.Record.Asked.StopTimeout
			if given {
				wait = timeout
			}
			return e.Stop(cmd.Context(), entry.Record.ID, sig, wait)
		})
	}
	return cmd
}

func stopSignal(asked string, r *record.Record) (unix.Signal, error) {
	if asked == "" {
		asked = r.Asked.Options.StopSignal
	}
	if asked == "" {
		return unix.SIGTERM, nil
	}
	return dockerflag.ParseSignal(asked)
}

func (a sandboxCommands) killCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "kill [OPTIONS] SANDBOX...", Short: "Kill running sandboxes, or send them a signal",
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			sig, err := dockerflag.ParseSignal(name)
			if err != nil {
				return usageError{flagError("--signal", err)}
			}
			return a.each(cmd, args, func(e *sandbox.Engine, sandbox string) error { return e.Signal(cmd.Context(), sandbox, sig) })
		},
	}
	cmd.Flags().StringVarP(&name, "signal", "s", "KILL", "`SIGNAL` to send, by name or number")
	return cmd
}

func (a sandboxCommands) waitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "wait SANDBOX...", Short: "Wait until sandboxes exit and print their exit statuses",
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			return sideBySide(cmd.OutOrStdout(), args, func(name string) (string, error) {
				exit, err := e.Wait(cmd.Context(), name)
				return strconv.Itoa(exit.Code), err
			})
		},
	}
}

func (a sandboxCommands) rmCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] SANDBOX...", Short: "Remove exited sandboxes (their records and logs)",
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(e *sandbox.Engine, name string) error { return e.Remove(cmd.Context(), name, force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Kill running sandboxes first, and ignore sandboxes that do not exist")
	return cmd
}
