// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// defaultPath is the PATH of an image built from scratch.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxSteps keeps a stage below the kernel's limit of 500 overlay layers.
const maxSteps = 400

// op is one instruction of a stage, expanded and ready. At most one of Run,
// Copy and Workdir is set; with none it changes the configuration only.
type op struct {
	Name      string   `json:"name"`
	Text      string   `json:"text"`
	CreatedBy string   `json:"createdBy"`
	Line      int      `json:"line"`
	Run       *runOp   `json:"run,omitempty"`
	Copy      *copyOp  `json:"copy,omitempty"`
	Workdir   *workdir `json:"workdir,omitempty"`
	loc       []parser.Range
}

// runOp is a command to execute.
type runOp struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	User string   `json:"user,omitempty"`
	// Proxy is environment that is not part of the cache key.
	Proxy   []string  `json:"proxy,omitempty"`
	Mounts  []mountOp `json:"mounts,omitempty"`
	Network string    `json:"network,omitempty"`
}

// copyOp is files to copy; Add means ADD, which unpacks archives.
type copyOp struct {
	Add     bool         `json:"add,omitempty"`
	From    origin       `json:"from"`
	Sources []string     `json:"sources,omitempty"`
	Inline  []inlineFile `json:"inline,omitempty"`
	Dest    string       `json:"dest"`
	// IsDir: the destination was written with a slash at its end.
	IsDir bool   `json:"isDir,omitempty"`
	Chown string `json:"chown,omitempty"`
	Chmod string `json:"chmod,omitempty"`
	// Link: the files make a layer that does not depend on those below.
	Link bool `json:"link,omitempty"`
	// Parents: what leads to a file in its source is kept at the destination.
	Parents bool     `json:"parents,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Checksum, KeepGitDir and Unpack are ADD's.
	Checksum   string `json:"checksum,omitempty"`
	KeepGitDir *bool  `json:"keepGitDir,omitempty"`
	Unpack     *bool  `json:"unpack,omitempty"`
}

// unpacks reports whether archives are unpacked: by ADD, unless --unpack says
// otherwise, those that are not remote.
func (c *copyOp) unpacks(remote bool) bool {
	if c.Unpack != nil {
		return *c.Unpack
	}
	return c.Add && !remote
}

// inlineFile is a file whose text is in the Dockerfile.
type inlineFile struct {
	Name string `json:"name"`
	Data string `json:"data"`
}

// workdir is a directory that must exist.
type workdir struct {
	Path string `json:"path"`
	// User owns it if it has to be made.
	User string `json:"user,omitempty"`
}

// stagePlan is a stage as it will be executed.
type stagePlan struct {
	Index  int           `json:"index"`
	Name   string        `json:"name,omitempty"`
	Config rootfs.Config `json:"config"`
	Ops    []*op         `json:"ops"`
	// scope and seen are what a stage on top of this one goes on with.
	scope scope
	seen  lintState
}

// steps is how many of the operations change files.
func (p *stagePlan) steps() int {
	n := 0
	for _, o := range p.Ops {
		if o.Run != nil || o.Copy != nil || o.Workdir != nil {
			n++
		}
	}
	return n
}

// stagePlanner plans one stage.
type stagePlanner struct {
	plan   *plan
	index  int
	config rootfs.Config
	scope  scope
	cmdSet bool
	ops    []*op
	checks *checks
	seen   lintState
}

// scratchConfig is what FROM scratch starts with.
func scratchConfig(platform v1.Platform) rootfs.Config {
	var c rootfs.Config
	c.Platform = platform
	c.Config.Env = []string{defaultPath}
	c.Config.WorkingDir = "/"
	return c
}

// planStage expands the instructions of stage i on top of base. Parent is the
// stage that has that configuration, nil if it is no stage's: its build arguments
// stay known. It is pure but for the instructions themselves; the returned
// configuration has the base's history and diff ids still.
func (p *plan) planStage(i int, base rootfs.Config, parent *stagePlan, c *checks) (*stagePlan, error) {
	stage := &p.file.stages[i]
	commands, err := p.withTriggers(i, base.Docker.OnBuild)
	if err != nil {
		return nil, p.file.fault(stage.Location, err)
	}
	base.Docker.OnBuild = nil
	s := &stagePlanner{plan: p, index: i, config: cloneConfig(base), checks: c}
	if parent == nil {
		parent = &stagePlan{}
	}
	s.scope = parent.scope.inherit(base.Config.Env)
	s.seen.declared, s.seen.workdirSet = slices.Clone(parent.seen.declared), parent.seen.workdirSet
	if !slices.ContainsFunc(s.scope.env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		s.scope.env = append([]string{defaultPath}, s.scope.env...)
	}
	for n, cmd := range commands {
		var lint *linter.Linter
		if c != nil && n >= len(commands)-len(stage.Commands) { // not a trigger, whose text is not in this file
			lint = c.lint
		}
		o := &op{Name: strings.ToUpper(cmd.Name()), loc: cmd.Location()}
		if len(o.loc) > 0 {
			o.Line = o.loc[0].Start.Line
		}
		if err := s.apply(cmd, o, merged(lint, cmd.Comments())); err != nil {
			return nil, p.file.fault(o.loc, err)
		}
		if o.CreatedBy == "" {
			o.CreatedBy = o.Name + " " + o.Text
		}
		o.Text = oneLine(o.Name + " " + o.Text)
		s.ops = append(s.ops, o)
	}
	if countSteps(commands)+len(base.RootFS.DiffIDs) > maxSteps {
		return nil, p.file.fault(stage.Location, fmt.Errorf("more than %d layers", maxSteps))
	}
	s.config.Config.Env = s.scope.env
	return &stagePlan{Index: i, Name: stage.Name, Config: s.config, Ops: s.ops, scope: s.scope, seen: s.seen}, nil
}

// countSteps is how many of the instructions may make a layer.
func countSteps(cmds []instructions.Command) int {
	n := 0
	for _, cmd := range cmds {
		switch cmd.(type) {
		case *instructions.RunCommand, *instructions.CopyCommand, *instructions.AddCommand, *instructions.WorkdirCommand:
			n++
		}
	}
	return n
}

// apply plans one instruction. Expansion comes first, with the variables as they
// were before the instruction.
func (s *stagePlanner) apply(cmd instructions.Command, o *op, lint *linter.Linter) error {
	if err := checkSupported(cmd); err != nil {
		return err
	}
	if c, ok := cmd.(*instructions.ArgCommand); ok {
		s.lintCommand(cmd, lint)
		return s.arg(c, o, lint)
	}
	values := s.scope.values()
	x, raw := newExpander(s.plan.file.escape, values), contentExpander(values)
	if ex, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		if err := ex.Expand(x.word); err != nil {
			if o.Name == "RUN" {
				err = cleanParserError(err) // a mount that is not understood
			}
			return fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	if ex, ok := cmd.(instructions.SupportsSingleWordExpansionRaw); ok {
		if err := ex.ExpandRaw(raw.word); err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	if c, ok := cmd.(*instructions.ExposeCommand); ok {
		if err := expandPorts(c, x); err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	maps.Copy(x.unset, raw.unset)
	s.lintVariables(lint, x, cmd.Location())
	s.lintCommand(cmd, lint)
	if err := s.applyFiles(cmd, o); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	return nil
}

// applyFiles handles what touches files; the rest is configuration.
func (s *stagePlanner) applyFiles(cmd instructions.Command, o *op) error {
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		return s.run(c, o)
	case *instructions.CopyCommand:
		from, err := s.plan.originOf("COPY --from", c.From, s.index)
		if err != nil {
			return err
		}
		o.Copy = &copyOp{From: from, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns}
		return s.copy(c.SourcesAndDest, o, c.From)
	case *instructions.AddCommand:
		o.Copy = &copyOp{
			Add: true, From: origin{Kind: fromContext}, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Exclude: c.ExcludePatterns,
			Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Unpack: c.Unpack,
		}
		return s.copy(c.SourcesAndDest, o, "")
	case *instructions.WorkdirCommand:
		return s.workdir(c, o)
	}
	return s.applyConfig(cmd, o)
}

// arg declares build arguments: --build-arg, then the default, then a global
// ARG of that name, then the automatic ones.
func (s *stagePlanner) arg(c *instructions.ArgCommand, o *op, lint *linter.Linter) error {
	var shown []string
	for _, a := range c.Args {
		name := a.Key
		value, ok := s.plan.args[name]
		if !ok && a.Value != nil {
			var err error
			x := newExpander(s.plan.file.escape, s.scope.values())
			if value, err = x.word(*a.Value); err != nil {
				return fmt.Errorf("ARG %s: %w", visible(name), err)
			}
			ok = true
			s.lintVariables(lint, x, c.Location())
		}
		s.seen.declared = append(s.seen.declared, name)
		if !ok {
			value, ok = s.plan.globals[name]
		}
		if !ok {
			shown = append(shown, name)
			continue
		}
		s.scope.setArg(name, value)
		shown = append(shown, name+"="+value)
	}
	o.Text = strings.Join(shown, " ")
	return nil
}

// cloneConfig copies what planning changes, so that a base is never written to.
func cloneConfig(c rootfs.Config) rootfs.Config {
	c.Config.Env = slices.Clone(c.Config.Env)
	c.Config.Labels = cloneMap(c.Config.Labels)
	c.Config.ExposedPorts = cloneMap(c.Config.ExposedPorts)
	c.Config.Volumes = cloneMap(c.Config.Volumes)
	c.History = slices.Clone(c.History)
	c.RootFS.DiffIDs = slices.Clone(c.RootFS.DiffIDs)
	return c
}

// cloneMap is maps.Clone with nil for an empty map, which JSON leaves out.
func cloneMap[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
