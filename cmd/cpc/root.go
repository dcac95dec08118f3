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

	"github.com/claude-pocket-console/cpc/internal/sdnotify"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// app is what every command is given.
type app struct {
	runtime string  // --runtime
	inside  *worker // set in the copy of cpc that works in U0
	systemd sdnotify.Notifier
	ends    *ends
	quiet   bool // about pulls that a command needs

	settings settings
}

// execute runs the command line and returns its exit status.
func execute(args []string, inside *worker) int {
	takes := endTakes
	if inside != nil {
		takes = workerEndTakes
	}
	a := &app{inside: inside, systemd: sdnotify.Take(), ends: watchEnds(takes)}
	defer a.ends.stop()
	restore := terminal.Remember(os.Stdin)
	over := make(chan int, 1)
	go func() { over <- a.command(args) }()
	select {
	case status := <-over:
		return status
	case <-a.ends.late:
		restore()
		return a.ends.status()
	}
}

// command runs the command line to its end and returns its exit status.
func (a *app) command(args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(stdout())
	root.SetErr(stderr())
	cmd, err := root.ExecuteContextC(a.ends.ctx)
	if err == nil {
		return 0
	}
	interrupted := a.ends.status()
	status, said := errors.AsType[exitStatus](err)
	switch {
	case interrupted != 0 && (said || errors.Is(err, context.Canceled)):
		return interrupted
	case said:
		return int(status)
	}
	code, hint := explain(err)
	text := visible.Error(err)
	if _, ours := errors.AsType[usageError](err); ours {
		text = findable(text)
	}
	fmt.Fprintf(stderr(), "%s: %s\n", cmd.CommandPath(), text)
	if hint != "" {
		fmt.Fprintln(stderr(), visible.Text(findable(hint)))
	}
	if interrupted != 0 {
		return interrupted
	}
	return ownStatus(cmd, code)
}

// exitStatus is the status of a program that cpc ran; there is nothing to say.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ownStatus is the exit status of cmd for a failure of cpc itself. The commands
// that pass on a program's status have docker's numbers for their own; the
// others have 1, but for a command line that makes no sense.
func ownStatus(cmd *cobra.Command, code int) int {
	switch {
	case code == defaultFailure && cmd.Name() == "run":
		return 125
	case (code == notFound || code == notExecutable) && cmd.Name() != "run" && cmd.Name() != "exec":
		return defaultFailure
	}
	return code
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "cpc COMMAND",
		Short:         "Build images and run sandboxes, without Docker and without root",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("cpc version {{.Version}}\n")
	root.PersistentFlags().StringVar(&a.runtime, "runtime", os.Getenv("CPC_RUNTIME"),
		"`PATH` of the OCI runtime (default: the cpc-runtime beside cpc)")
	root.SetFlagErrorFunc(flagFailure)
	root.SuggestionsMinimumDistance = 2
	// Every group runs by itself too (it shows its help): one line is enough.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(),
		"{{if .HasAvailableSubCommands}}\n  {{.CommandPath}} [command]{{end}}", "", 1))
	root.AddGroup(
		&cobra.Group{ID: "sandbox", Title: "Sandboxes:"},
		&cobra.Group{ID: "image", Title: "Images:"},
	)
	addGroup(root, "sandbox", sandboxMembers(a))
	addGroup(root, "image", imageMembers(a))
	root.AddCommand(otherMembers(a)...)
	root.AddCommand(strangersOf(commandsNotOffered())...)
	registerStrange(root, strangeFlags())
	root.DisableFlagsInUseLine = true
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true // they all say [OPTIONS] where it belongs
	}
	return root
}

// addGroup adds commands under a heading of the help.
func addGroup(root *cobra.Command, id string, members []*cobra.Command) {
	for _, c := range members {
		c.GroupID = id
	}
	root.AddCommand(members...)
}

func sandboxMembers(a *app) []*cobra.Command {
	s := sandboxCommands{a}
	return []*cobra.Command{
		s.runCommand(), s.execCommand(), s.attachCommand(), s.psCommand(), s.logsCommand(), s.stopCommand(),
		s.killCommand(), s.waitCommand(), s.rmCommand(), s.cpCommand(), inspectCommands{a}.inspectCommand(), netCommands{a}.netCommand(),
		s.updateCommand(), s.pauseCommand(), s.unpauseCommand(), s.profileCommand(), systemCommands{a}.eventsCommand(), s.statsCommand(), s.topCommand(), s.asCommand(),
	}
}

func imageMembers(a *app) []*cobra.Command {
	i, r, c := imageCommands{a}, registryCommands{a}, contentCommands{a}
	return []*cobra.Command{
		buildCommands{a}.buildCommand(), i.imagesCommand(), i.pullCommand(), i.importCommand(), i.tagCommand(), i.rmiCommand(),
		c.sbomCommand(), c.scanCommand(), i.historyCommand(), i.saveCommand(), i.loadCommand(), i.exportCommand(),
		r.pushCommand(), r.loginCommand(), r.logoutCommand(), r.searchCommand(), r.referrersCommand(),
	}
}

func otherMembers(a *app) []*cobra.Command {
	b, s := buildCommands{a}, systemCommands{a}
	return []*cobra.Command{
		imageCommands{a}.imageGroup(), b.builderGroup(), b.buildxGroup(), sandboxCommands{a}.containerGroup(), s.systemGroup(),
		s.doctorCommand(), s.setupCommand(), s.sweepCommand(), s.infoCommand(), s.versionCommand(), b.gitConnectCommand(),
	}
}
