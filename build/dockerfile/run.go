// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// runCommand is RUN.
type runCommand struct {
	*instructions.RunCommand
	unchecked
}

func (c *runCommand) check(warn func(string)) error {
	if slices.Contains(c.FlagsUsed, "device") {
		return unsupported("RUN --device", "a step cannot be given devices of the host")
	}
	if instructions.GetSecurity(c.RunCommand) == instructions.SecurityInsecure {
		return hint.With(errors.New("RUN --security=insecure is refused: a step is a sandbox, and insecure would remove its protection"),
			"run the command on the host and COPY its result")
	}
	if !c.PrependShell && len(c.CmdLine) == 0 {
		return errors.New("RUN requires a command")
	}
	if len(c.Files) > 0 && (!c.PrependShell || len(c.CmdLine) != 1) {
		return unsupported("RUN in exec form with a heredoc", "use the shell form")
	}
	warnForm(c, c.ShellDependantCmdLine, warn)
	return nil
}

// sources are those of its mounts, before expansion: from may not hold variables.
func (c *runCommand) sources(find finder) ([]Origin, error) {
	var out []Origin
	for _, m := range instructions.GetMounts(c.RunCommand) {
		if m.From == "" || m.From == scratch {
			continue
		}
		from, err := find("RUN --mount=from", m.From)
		if err != nil {
			return nil, err
		}
		out = append(out, from)
	}
	return out, nil
}

func (c *runCommand) expand(x *expansion) error {
	if err := x.all(c.RunCommand); err != nil {
		return cleanParserError(err) // a mount that is not understood
	}
	return nil
}

// plan: a heredoc alone is the script itself; with words before it the shell
// reads it as it would in a script of its own.
func (c *runCommand) plan(s *stagePlanner) (Op, error) {
	line := c.ShellDependantCmdLine
	o := Op{Text: strings.Join(c.CmdLine, " ")}
	mounts, err := s.mounts(c.RunCommand)
	if err != nil {
		return Op{}, err
	}
	if len(c.Files) > 0 {
		script, file := heredocScript(c.RunCommand)
		o.Text += " " + script
		if file != nil {
			mounts, script = append(mounts, *file), file.Target
		}
		line.CmdLine = []string{script}
	}
	if !c.PrependShell {
		o.Text = jsonList(c.CmdLine)
	}
	args := s.commandLine(line)
	if len(args) == 0 || args[0] == "" {
		return Op{}, errors.New("the command is empty")
	}
	if slices.ContainsFunc(args, func(a string) bool { return strings.ContainsRune(a, 0) }) {
		return Op{}, errors.New("the command contains a NUL byte")
	}
	network, err := s.runNetwork(c.RunCommand)
	if err != nil {
		return Op{}, err
	}
	o.Action = &Exec{
		Args: args, Env: s.scope.runEnv(), Proxy: s.proxyEnv(), Dir: s.dir(), User: s.config.Config.User, Mounts: mounts, Network: network,
	}
	o.CreatedBy = "RUN " + s.shownArgs() + strings.Join(args, " ")
	return o, nil
}

// runNetwork is what --network says, "" for the build's.
func (s *stagePlanner) runNetwork(c *instructions.RunCommand) (string, error) {
	n := instructions.GetNetwork(c)
	if n == instructions.NetworkDefault {
		return "", nil
	}
	if n == instructions.NetworkHost && !s.plan.hostNetwork {
		return "", hint.With(errors.New("RUN --network=host is refused: the step could reach services that only this machine can reach"),
			"to allow it, use --allow network.host")
	}
	return n, nil
}

// proxyEnv is what is given of the proxies that no ARG declares.
func (s *stagePlanner) proxyEnv() []string {
	var out []string
	declared := s.scope.values()
	for _, name := range proxyArgs {
		if _, ok := declared[name]; ok {
			continue
		}
		if value, ok := s.plan.args[name]; ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// Exec is a command to execute.
type Exec struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	User string   `json:"user,omitempty"`
	// Proxy is environment that is not part of the cache key.
	Proxy   []string `json:"proxy,omitempty"`
	Mounts  []Mount  `json:"mounts,omitempty"`
	Network string   `json:"network,omitempty"`
}

func (*Exec) action() {}

// Sources implements Action.
func (r *Exec) Sources() []Origin {
	var out []Origin
	for _, m := range r.Mounts {
		out = append(out, m.From)
	}
	return out
}

// Key implements Action. It leaves out the proxies, which say nothing about what a step makes.
func (r *Exec) Key() (string, any) {
	k := *r
	k.Proxy, k.Mounts = nil, keyed(k.Mounts)
	return "run", &k
}

// Linked implements Action.
func (*Exec) Linked() bool { return false }

// Open implements Action.
func (r *Exec) Open(ctx context.Context, x Executor) (string, error) { return x.OpenMounts(ctx, r) }

// Apply implements Action.
func (r *Exec) Apply(ctx context.Context, x Executor) error { return x.Run(ctx, r) }

// shownArgs is docker's form of the build arguments in a history line.
func (s *stagePlanner) shownArgs() string {
	if len(s.scope.args) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "|%d ", len(s.scope.args))
	values := s.scope.values()
	for _, a := range s.scope.args {
		b.WriteString(a.name + "=" + values[a.name] + " ")
	}
	return b.String()
}

// heredocScript is what the shell is given, and the file that a script with a
// #! line becomes.
func heredocScript(c *instructions.RunCommand) (string, *Mount) {
	first := c.Files[0]
	if parser.MustParseHeredoc(c.CmdLine[0]) == nil {
		var b strings.Builder
		b.WriteString(c.CmdLine[0])
		for _, f := range c.Files {
			b.WriteString("\n" + f.Data + f.Name)
		}
		return b.String(), nil
	}
	data := first.Data
	if first.Chomp {
		data = parser.ChompHeredocContent(data)
	}
	if strings.HasPrefix(data, "#!") {
		name := path.Base(path.Clean("/" + first.Name))
		return data, &Mount{Type: MountScript, Target: scriptDir + name, ReadOnly: true, Data: data}
	}
	return data, nil
}
