// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usageErrorf(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Errorf(format+"\nSee '%s --help'", append(args, cmd.CommandPath())...)}
}

// many is no upper limit on the number of arguments.
const many = 1 << 30

// wants checks the number of a command's arguments.
func wants(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		switch {
		case n >= least && n <= most:
			return nil
		case most == 0:
			return usageErrorf(cmd, "takes no arguments, got %q", args[0])
		case n > most:
			return usageErrorf(cmd, "one argument too many: %q\nUsage: %s", args[most], cmd.UseLine())
		}
		_, takes, _ := strings.Cut(cmd.Use, " ")
		takes = strings.TrimPrefix(takes, "[OPTIONS] ")
		return usageErrorf(cmd, "argument missing: %s\nUsage: %s", strings.Fields(takes)[n], cmd.UseLine())
	}
}

// unknownCommand is what the root has for arguments: none is one of its own.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := dockerflag.Nearest(args[0], names); near != "" {
		text += ": did you mean " + near + "?"
	}
	return usageErrorf(cmd, "%s", text)
}

// flagFailure words the flag parser's errors as this program words its own.
func flagFailure(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		if err := notOffered(cmd, unknown); err != nil {
			return err
		}
		return usageErrorf(cmd, "%w%s", err, nearFlag(cmd, unknown.GetSpecifiedName()))
	case errors.As(err, &invalid):
		if r, ok := errors.AsType[*refusal](err); ok {
			return usageError{r}
		}
		f := invalid.GetFlag()
		return usageErrorf(cmd, "--%s %q: must be %s", f.Name, invalid.GetValue(), valueWanted(f.Value.Type()))
	}
	return usageErrorf(cmd, "%w", err)
}

func nearFlag(cmd *cobra.Command, name string) string {
	if len(name) < 2 {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	near := dockerflag.Nearest(name, names)
	if near == "" {
		return ""
	}
	return ": did you mean --" + near + "?"
}

func valueWanted(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	}
	return "a " + kind
}
