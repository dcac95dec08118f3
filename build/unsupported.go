// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// unsupported is the error for what Dockerfiles may say and cpc cannot do yet.
func unsupported(what, hint string) error {
	err := fmt.Errorf("not supported yet: %s", what)
	if hint == "" {
		return err
	}
	return withHint(err, hint)
}

// checkSupported refuses instructions and flags that are not implemented, so
// that nothing is ever silently ignored.
func checkSupported(cmd instructions.Command) error {
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		return checkRun(c)
	case *instructions.CmdCommand:
		return checkNoHeredoc("CMD", c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		return checkNoHeredoc("ENTRYPOINT", c.ShellDependantCmdLine)
	}
	return nil
}

func checkNoHeredoc(name string, c instructions.ShellDependantCmdLine) error {
	if len(c.Files) > 0 {
		return unsupported(name+" with a heredoc", "")
	}
	return nil
}

func checkRun(c *instructions.RunCommand) error {
	if slices.Contains(c.FlagsUsed, "device") {
		return unsupported("RUN --device", "a step cannot be given devices of the host")
	}
	if instructions.GetSecurity(c) == instructions.SecurityInsecure {
		return withHint(errors.New("RUN --security=insecure is refused: a step is a sandbox, and insecure would take its walls away"),
			"say which right the command lacks, or run it on the host and COPY its result")
	}
	if !c.PrependShell && len(c.CmdLine) == 0 {
		return errors.New("RUN requires a command")
	}
	if len(c.Files) > 0 && (!c.PrependShell || len(c.CmdLine) != 1) {
		return unsupported("RUN in exec form with a heredoc", "use the shell form")
	}
	return nil
}
