// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

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
	case *instructions.CopyCommand:
		return checkCopy(c)
	case *instructions.AddCommand:
		return checkAdd(c)
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
	if len(c.CmdLine) == 0 || (len(c.CmdLine) == 1 && strings.TrimSpace(c.CmdLine[0]) == "" && len(c.Files) == 0) {
		return fmt.Errorf("RUN requires a command")
	}
	if len(c.Files) > 0 && (!c.PrependShell || len(c.CmdLine) != 1) {
		return unsupported("RUN in exec form with a heredoc", "use the shell form")
	}
	return nil
}

func checkCopy(c *instructions.CopyCommand) error {
	switch {
	case c.Link:
		return unsupported("COPY --link", "without --link the result is the same, only the caching differs")
	case c.Parents:
		return unsupported("COPY --parents", "copy the parent directory, or name the destination in full")
	case len(c.ExcludePatterns) > 0:
		return unsupported("COPY --exclude", "list what to leave out in .dockerignore")
	}
	return nil
}

var remoteSource = regexp.MustCompile(`^(?i:https?|git|ssh|ftp)://|^git@`)

func checkAdd(c *instructions.AddCommand) error {
	switch {
	case c.Link:
		return unsupported("ADD --link", "without --link the result is the same, only the caching differs")
	case len(c.ExcludePatterns) > 0:
		return unsupported("ADD --exclude", "list what to leave out in .dockerignore")
	case c.KeepGitDir != nil:
		return unsupported("ADD --keep-git-dir", "")
	case c.Checksum != "":
		return unsupported("ADD --checksum", "")
	case c.Unpack != nil:
		return unsupported("ADD --unpack", "ADD unpacks local archives, COPY never does")
	}
	return nil
}

// checkLocalSources refuses what ADD would have to fetch. It runs on expanded
// words, as a variable may hold the address.
func checkLocalSources(sources []string) error {
	for _, s := range sources {
		if remoteSource.MatchString(s) || strings.HasSuffix(s, ".git") && strings.Contains(s, ":") {
			return unsupported("a remote source: "+bounded(visible(s), 80),
				"fetch it in a RUN step, or put it into the context")
		}
	}
	return nil
}
