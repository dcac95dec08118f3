// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// shell is the SHELL in force.
func (s *stagePlanner) shell() []string {
	if sh := s.config.Docker.Shell; len(sh) > 0 {
		return slices.Clone(sh)
	}
	return []string{"/bin/sh", "-c"}
}

// dir is the working directory in force.
func (s *stagePlanner) dir() string {
	if d := s.config.Config.WorkingDir; d != "" {
		return path.Join("/", d)
	}
	return "/"
}

// commandLine is the argument vector of a shell or exec form.
func (s *stagePlanner) commandLine(c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell {
		return slices.Clone(c.CmdLine)
	}
	return append(s.shell(), strings.Join(c.CmdLine, " "))
}

// absolute is p seen from dir.
func absolute(dir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", dir, p)
}

// warnForm warns about an exec form that is no JSON and so is a shell command.
func warnForm(cmd instructions.Command, line instructions.ShellDependantCmdLine, warn func(string)) {
	text := strings.TrimSpace(strings.Join(line.CmdLine, " "))
	if line.PrependShell && strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") && !strings.HasPrefix(text, "[ ") && !strings.HasPrefix(text, "[[") {
		warn(fmt.Sprintf("%s is run by the shell, as its list is no JSON (use double quotes)", strings.ToUpper(cmd.Name())))
	}
}

func checkNoHeredoc(name string, c instructions.ShellDependantCmdLine) error {
	if len(c.Files) > 0 {
		return unsupported(name+" with a heredoc", "")
	}
	return nil
}

// jsonList shows a vector as Dockerfiles write it.
func jsonList(words []string) string {
	if words == nil {
		words = []string{}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(words); err != nil {
		return fmt.Sprint(words)
	}
	return strings.TrimSpace(b.String())
}

// oneLine makes a step's title of its text.
func oneLine(s string) string {
	return visible.Bounded(strings.Join(strings.Fields(s), " "), 400)
}
