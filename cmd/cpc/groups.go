// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// group makes one of docker's management commands: the commands of this
// program once more, under a noun.
func group(name, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " COMMAND", Short: short, Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, m := range members {
		m.DisableFlagsInUseLine = true
	}
	cmd.AddCommand(members...)
	return cmd
}

// called gives a command another name, and further ones.
func called(cmd *cobra.Command, name string, aliases ...string) *cobra.Command {
	_, takes, _ := strings.Cut(cmd.Use, " ")
	cmd.Use, cmd.Aliases = strings.TrimSpace(name+" "+takes), aliases
	return cmd
}

func (a imageCommands) imageGroup() *cobra.Command {
	return group(
		"image", "Manage images",
		called(a.imagesCommand(), "ls", "list"), called(a.rmiCommand(), "rm", "remove"), a.imagePruneCommand(),
		buildCommands(a).buildCommand(), a.pullCommand(), registryCommands(a).pushCommand(), a.importCommand(), a.tagCommand(), a.historyCommand(),
		a.saveCommand(), a.loadCommand(), inspectCommands(a).inspectKind("image"),
	)
}

func (a sandboxCommands) containerGroup() *cobra.Command {
	cmd := group(
		"container", "Manage sandboxes",
		called(a.psCommand(), "ls", "ps", "list"), a.runCommand(), a.execCommand(), a.attachCommand(), a.logsCommand(),
		a.stopCommand(), a.killCommand(), a.waitCommand(), called(a.rmCommand(), "rm", "remove"),
		a.containerPruneCommand(), inspectCommands(a).inspectKind("sandbox"), a.updateCommand(), a.pauseCommand(), a.unpauseCommand(),
		a.statsCommand(), a.topCommand(), a.cpCommand(), imageCommands(a).exportCommand(),
	)
	cmd.AddCommand(strangersOf(sandboxCommandsNotOffered())...)
	return cmd
}

// inspectKind is inspect for one kind of things.
func (a inspectCommands) inspectKind(kind string) *cobra.Command {
	cmd := a.inspectCommand()
	cmd.Short = "Show detailed information on " + map[string]string{"image": "images", "sandbox": "sandboxes"}[kind]
	f := cmd.Flags().Lookup("type")
	f.Hidden = true
	cmd.PreRunE = func(*cobra.Command, []string) error { return f.Value.Set(kind) }
	return cmd
}
