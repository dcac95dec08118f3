// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// defaultPath is the PATH of an image built from scratch.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxSteps keeps a stage below the kernel's limit of 500 overlay layers.
const maxSteps = 400

// StagePlan is a stage as it will be executed.
type StagePlan struct {
	Index  int
	Name   string
	Config rootfs.Config
	Ops    []*Op
	// scope and seen are what a stage on top of this one goes on with.
	scope scope
	seen  lintState
}

// Layers is how many of the operations may make a layer.
func (p *StagePlan) Layers() int {
	n := 0
	for _, o := range p.Ops {
		if o.Action != nil {
			n++
		}
	}
	return n
}

// stagePlanner plans one stage.
type stagePlanner struct {
	plan   *Plan
	index  int
	config rootfs.Config
	scope  scope
	cmdSet bool
	ops    []*Op
	checks *checks
	// lint has the rules for the instruction that is planned; nil: none.
	lint *linter.Linter
	seen lintState
}

// ScratchConfig is what FROM scratch starts with.
func ScratchConfig(platform v1.Platform) rootfs.Config {
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
func (p *Plan) planStage(i int, base rootfs.Config, parent *StagePlan, c *checks) (*StagePlan, error) {
	stage := &p.File.Stages[i]
	commands, err := p.withTriggers(i, base.Docker.OnBuild)
	if err != nil {
		return nil, p.File.Fault(stage.Location, err)
	}
	base.Docker.OnBuild = nil
	s := &stagePlanner{plan: p, index: i, config: cloneConfig(base), checks: c}
	if parent == nil {
		parent = &StagePlan{}
	}
	s.scope = parent.scope.inherit(base.Config.Env)
	s.seen.declared, s.seen.workdirSet = slices.Clone(parent.seen.declared), parent.seen.workdirSet
	if !slices.ContainsFunc(s.scope.env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		s.scope.env = append([]string{defaultPath}, s.scope.env...)
	}
	for n, cmd := range commands {
		var lint *linter.Linter
		if c != nil && n >= len(commands)-len(stage.instructions) { // not a trigger, whose text is not in this file
			lint = c.lint
		}
		s.lint = merged(lint, cmd.Comments())
		o, err := s.apply(cmd)
		if err != nil {
			return nil, p.File.Fault(cmd.Location(), err)
		}
		s.ops = append(s.ops, o)
	}
	if countLayers(commands)+len(base.RootFS.DiffIDs) > maxSteps {
		return nil, p.File.Fault(stage.Location, fmt.Errorf("more than %d layers", maxSteps))
	}
	s.config.Config.Env = s.scope.env
	return &StagePlan{Index: i, Name: stage.Name, Config: s.config, Ops: s.ops, scope: s.scope, seen: s.seen}, nil
}

// apply plans one instruction. Expansion comes first, with the variables as they
// were before the instruction.
func (s *stagePlanner) apply(cmd instruction) (*Op, error) {
	if err := cmd.check(func(string) {}); err != nil {
		return nil, err
	}
	name := strings.ToUpper(cmd.Name())
	x := newExpansion(s.plan.File.escape, s.scope.values())
	if err := cmd.expand(x); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	maps.Copy(x.text.unset, x.content.unset)
	s.lintVariables(x.text, cmd)
	if s.lint != nil {
		cmd.lint(s, s.lint)
	}
	o, err := cmd.plan(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(o.Name, name), err)
	}
	o.Name, o.Location = name, cmd.Location()
	if len(o.Location) > 0 {
		o.Line = o.Location[0].Start.Line
	}
	if o.CreatedBy == "" {
		o.CreatedBy = o.Name + " " + o.Text
	}
	o.Text = oneLine(o.Name + " " + o.Text)
	return &o, nil
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
