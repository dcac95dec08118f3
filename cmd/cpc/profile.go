// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/profile"
)

func (a sandboxCommands) profileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "profile COMMAND", Short: "Show the profiles of sandboxes", Args: unknownCommand,
		Long: `Show the profiles of sandboxes. A profile is a set of defaults for the flags of
cpc run. A flag that is given wins over the profile.

Choose a profile with cpc run --profile NAME, or with profile = "NAME" in
config.toml, which can have further profiles. See docs/profiles.md.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range []*cobra.Command{a.profileListCommand(), a.profileShowCommand()} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// profiles are those that there are.
func (a sandboxCommands) profiles() (profile.Set, error) {
	c, err := a.configuration()
	if err != nil {
		return profile.Set{}, err
	}
	return profile.New(c)
}

// profileRow is a profile as cpc profile ls shows it.
type profileRow struct {
	Name    string
	Default bool // where none is named
	Minimum bool // nothing may be weaker
	From    string
	Summary string
}

func (a sandboxCommands) profileListCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List the profiles", Args: wants(0, 0),
		Long: `List the profiles, those of cpc and those of config.toml. DEFAULT marks the profile
that holds where none is named. MINIMUM marks the profile that no sandbox may be
weaker than, which only the administrator can set.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := a.profiles()
			if err != nil {
				return err
			}
			chosen, err := set.Choose("")
			if err != nil {
				return err
			}
			least, held := set.Minimum()
			var rows []profileRow
			for _, p := range set.All() {
				rows = append(rows, profileRow{
					Name: visible.Line(p.Name), Default: p.Name == chosen.Name, Minimum: held && p.Name == least.Name && p.From == least.From,
					From: visible.Line(p.From), Summary: visible.Line(p.Summary),
				})
			}
			return printRows(cmd.OutOrStdout(), l, []column{
				{"NAME", "{{.Name}}"},
				{"DEFAULT", "{{if .Default}}yes{{end}}"},
				{"MINIMUM", "{{if .Minimum}}yes{{end}}"},
				{"FROM", "{{.From}}"},
				{"SUMMARY", "{{.Summary}}"},
			}, rows)
		},
	}
	l.register(cmd)
	return cmd
}

func (a sandboxCommands) profileShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show what a profile says", Args: wants(0, 1),
		Long: `Show what a profile says, in the format of config.toml: copy it there under another
name to change it. Without a name, show the profile that holds where none is named.`,
		Example: "  cpc profile show work",
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := a.profiles()
			if err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			p, err := set.Choose(name)
			if err != nil {
				return err
			}
			if _, err := optionsOf(p); err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), visible.Text(p.TOML()))
			return err
		},
	}
}
