// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

func (a netCommands) netLearnCommand() *cobra.Command {
	f := &runFlags{}
	f.net.egress.Learn = true
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "learn [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Run a command without network access and print the policy that it needs",
		Long: `Run a command in a new sandbox whose network denies every host except those of
--egress. Afterwards, print the smallest policy that allows all connections that
the command attempted, in the format of --egress-file. The output of the command
goes to standard error.

Most programs stop after their first failed connection. Repeat the command with
the policy so far until the policy no longer grows.`,
		Example: `  cpc net learn debian:trixie-slim apt-get update >policy.toml
  cpc net learn --egress-file policy.toml debian:trixie-slim apt-get update`,
		Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error { return a.learn(cmd, f, args, asJSON) },
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	for _, name := range []string{"detach", "dry-run", "rm", "cidfile", "attach"} {
		_ = cmd.Flags().MarkHidden(name) // run has it: see register
	}
	return cmd
}

func (a netCommands) learn(cmd *cobra.Command, f *runFlags, args []string, asJSON bool) error {
	if f.detach || f.dryRun {
		return usageError{errors.New("it waits for the command's end: leave out --detach and --dry-run")}
	}
	e, req, err := sandboxCommands(a).prepareRun(cmd, f, args)
	if err != nil {
		return err
	}
	if req.Options.Network != bundle.NetworkAllowlist {
		return usageError{fmt.Errorf("learning needs --network %s", bundle.NetworkAllowlist)}
	}
	req.Network.Learn, req.AutoRemove = true, false
	keys, err := f.keys()
	if err != nil {
		return usageError{err}
	}
	s, err := e.Run(cmd.Context(), req)
	if err != nil {
		return err
	}
	defer func() { _ = e.Remove(context.WithoutCancel(cmd.Context()), s.ID, true) }()
	defer s.Close()
	exit, err := sandboxCommands(a).connect(s, connection{stdin: req.Stdin, keys: keys, proxy: true, out: os.Stderr, left: endsSandbox})
	if err != nil {
		return ended(err)
	}
	_ = s.AwaitEnd()
	rules, err := learnt(cmd.Context(), e, s.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr(), "cpc net learn: the command ended with status %d and asked for %d hosts\n", exit.Code, len(rules))
	if asJSON {
		return printJSON(cmd.OutOrStdout(), policy.Spec{Allow: rules})
	}
	var b strings.Builder
	b.WriteString("allow = [\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "\t%q,\n", r)
	}
	b.WriteString("]\n")
	_, err = fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
