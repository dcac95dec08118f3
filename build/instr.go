// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/claude-pocket-console/cpc/rootfs"
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

// run plans RUN. A heredoc alone is the script itself; with words before it the
// shell reads it as it would in a script of its own.
func (s *stagePlanner) run(c *instructions.RunCommand, o *op) error {
	line := c.ShellDependantCmdLine
	o.Text = strings.Join(c.CmdLine, " ")
	mounts, err := s.mounts(c)
	if err != nil {
		return err
	}
	if len(c.Files) > 0 {
		script, file := heredocScript(c)
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
		return errors.New("the command is empty")
	}
	if i := slices.IndexFunc(args, func(a string) bool { return strings.ContainsRune(a, 0) }); i >= 0 {
		return errors.New("the command contains a NUL byte")
	}
	o.Run = &runOp{Args: args, Env: s.scope.runEnv(), Dir: s.dir(), User: s.config.Config.User, Mounts: mounts}
	if n := instructions.GetNetwork(c); n != instructions.NetworkDefault {
		if n == instructions.NetworkHost && !s.plan.hostNetwork {
			return withHint(errors.New("RUN --network=host is refused: the step could reach what listens on this machine only"),
				"where that is meant, allow it with --allow network.host")
		}
		o.Run.Network = n
	}
	declared := s.scope.values()
	for _, name := range proxyArgs {
		if _, ok := declared[name]; ok {
			continue
		}
		if value, ok := s.plan.args[name]; ok {
			o.Run.Proxy = append(o.Run.Proxy, name+"="+value)
		}
	}
	o.CreatedBy = "RUN " + s.shownArgs() + strings.Join(args, " ")
	return nil
}

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
func heredocScript(c *instructions.RunCommand) (string, *mountOp) {
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
		return data, &mountOp{Type: mountScript, Target: scriptDir + name, ReadOnly: true, Data: data}
	}
	return data, nil
}

// copy plans the sources and the destination of COPY and ADD.
func (s *stagePlanner) copy(c instructions.SourcesAndDest, o *op, from string) error {
	cp := o.Copy
	// As in BuildKit, a source that is empty after expansion is everything, and
	// such a destination the working directory.
	for i, src := range c.SourcePaths {
		if src == "" {
			c.SourcePaths[i] = "."
		}
	}
	if c.DestPath == "" {
		c.DestPath = "./"
	}
	words := slices.Clone(c.SourcePaths)
	for _, f := range c.SourceContents {
		name := path.Base(path.Clean("/" + f.Path))
		if name == "/" {
			return fmt.Errorf("heredoc name %q is no file name", visible(f.Path))
		}
		cp.Inline = append(cp.Inline, inlineFile{Name: name, Data: f.Data})
		words = append(words, "<<"+f.Path)
	}
	cp.Sources = c.SourcePaths
	if strings.ContainsRune(c.DestPath, 0) {
		return errors.New("the destination contains a NUL byte")
	}
	cp.IsDir = strings.HasSuffix(c.DestPath, "/") || path.Base(c.DestPath) == "." || path.Base(c.DestPath) == ".."
	cp.Dest = absolute(s.dir(), c.DestPath)
	if err := cp.check(); err != nil {
		return err
	}
	o.Text = strings.Join(slices.Concat(cp.flags(from), words, []string{c.DestPath}), " ")
	return nil
}

// workdir plans WORKDIR, which also makes the directory.
func (s *stagePlanner) workdir(c *instructions.WorkdirCommand, o *op) error {
	dir := absolute(s.dir(), c.Path)
	o.Text = dir
	switch {
	case path.IsAbs(c.Path): // as it was written, slashes and all
		o.Text = c.Path
	case c.Path == "" && s.config.Config.WorkingDir != "":
		o.Text = s.config.Config.WorkingDir
	}
	s.config.Config.WorkingDir = o.Text
	o.Workdir = &workdir{Path: dir, User: s.config.Config.User}
	return nil
}

// absolute is p seen from dir.
func absolute(dir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", dir, p)
}

// applyConfig plans what changes the configuration only.
func (s *stagePlanner) applyConfig(cmd instructions.Command, o *op) error {
	cfg := &s.config.Config
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		return s.env(c, o)
	case *instructions.LabelCommand:
		return s.label(c, o)
	case *instructions.CmdCommand:
		cfg.Cmd, s.cmdSet = s.commandLine(c.ShellDependantCmdLine), true
		o.Text = jsonList(cfg.Cmd)
	case *instructions.EntrypointCommand:
		cfg.Entrypoint = s.commandLine(c.ShellDependantCmdLine)
		if !s.cmdSet {
			cfg.Cmd = nil
		}
		o.Text = jsonList(cfg.Entrypoint)
	case *instructions.ShellCommand:
		s.config.Docker.Shell = slices.Clone(c.Shell)
		o.Text = jsonList(c.Shell)
	case *instructions.UserCommand:
		cfg.User, o.Text = c.User, c.User
	case *instructions.ExposeCommand:
		return s.expose(c, o)
	case *instructions.VolumeCommand:
		return s.volume(c, o)
	case *instructions.StopSignalCommand:
		if err := checkSignal(c.Signal); err != nil {
			return err
		}
		cfg.StopSignal, o.Text = c.Signal, c.Signal
	case *instructions.HealthCheckCommand:
		s.config.Docker.Healthcheck = &rootfs.Healthcheck{
			Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries,
		}
		_, o.Text, _ = strings.Cut(oneLine(c.String()), " ")
	case *instructions.MaintainerCommand:
		s.config.Author, o.Text = c.Maintainer, c.Maintainer
	case *instructions.OnbuildCommand:
		s.config.Docker.OnBuild = append(slices.Clone(s.config.Docker.OnBuild), c.Expression)
		o.Text = c.Expression
	default:
		return unsupported(o.Name, "")
	}
	return nil
}

func (s *stagePlanner) env(c *instructions.EnvCommand, o *op) error {
	var shown []string
	for _, kv := range c.Env {
		if kv.Key == "" || strings.ContainsAny(kv.Key, "=\x00") || strings.ContainsRune(kv.Value, 0) {
			return fmt.Errorf("%q is no variable name", visible(kv.Key))
		}
		if err := s.scope.setEnv(kv.Key, kv.Value); err != nil {
			return err
		}
		shown = append(shown, kv.String())
	}
	o.Text = strings.Join(shown, " ")
	return nil
}

func (s *stagePlanner) label(c *instructions.LabelCommand, o *op) error {
	var shown []string
	for _, kv := range c.Labels {
		if kv.Key == "" {
			return errors.New("a label's name is empty")
		}
		if s.config.Config.Labels == nil {
			s.config.Config.Labels = map[string]string{}
		}
		s.config.Config.Labels[kv.Key] = kv.Value
		shown = append(shown, kv.String())
	}
	o.Text = strings.Join(shown, " ")
	return nil
}

// expandPorts expands to several words: EXPOSE $PORTS may hold a list.
func expandPorts(c *instructions.ExposeCommand, x *expander) error {
	var ports []string
	for _, word := range c.Ports {
		specs, err := x.words(word)
		if err != nil {
			return err
		}
		ports = append(ports, specs...)
	}
	c.Ports = ports
	return nil
}

func (s *stagePlanner) expose(c *instructions.ExposeCommand, o *op) error {
	for _, spec := range c.Ports {
		ports, err := parsePorts(spec)
		if err != nil {
			return err
		}
		for _, p := range ports {
			if s.config.Config.ExposedPorts == nil {
				s.config.Config.ExposedPorts = map[string]struct{}{}
			}
			s.config.Config.ExposedPorts[p] = struct{}{}
		}
	}
	o.Text = strings.Join(c.Ports, " ")
	return nil
}

func (s *stagePlanner) volume(c *instructions.VolumeCommand, o *op) error {
	for _, v := range c.Volumes {
		if v == "" {
			return errors.New("a path is empty after expansion")
		}
		if s.config.Config.Volumes == nil {
			s.config.Config.Volumes = map[string]struct{}{}
		}
		s.config.Config.Volumes[v] = struct{}{}
	}
	o.Text = jsonList(c.Volumes)
	return nil
}

// parsePorts reads PORT[-PORT][/tcp|udp|sctp]. What docker takes before that and
// does not use, an address and a port of the host, is checked for its form.
func parsePorts(spec string) ([]string, error) {
	bad := withHint(fmt.Errorf("%q is no port", visible(spec)), "write 80, 80/udp or 8000-8010/tcp")
	own := spec
	if i := strings.LastIndex(spec, ":"); i >= 0 {
		own = spec[i+1:]
		host, port := "", spec[:i]
		if j := strings.LastIndex(port, ":"); j >= 0 {
			host, port = port[:j], port[j+1:]
		}
		if strings.Contains(port, "/") || host != "" && net.ParseIP(strings.Trim(host, "[]")) == nil {
			return nil, bad
		}
		if _, err := parsePorts(port); port != "" && err != nil {
			return nil, bad
		}
	}
	ports, proto, _ := strings.Cut(strings.ToLower(own), "/")
	if proto == "" {
		proto = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
		return nil, bad
	}
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return nil, bad
	}
	last, err := strconv.ParseUint(high, 10, 16)
	if err != nil || last < first {
		return nil, bad
	}
	var out []string
	for n := first; n <= last; n++ {
		out = append(out, strconv.FormatUint(n, 10)+"/"+proto)
	}
	return out, nil
}
