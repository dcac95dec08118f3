// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// instruction is one instruction of a stage as the file has it. Each kind is a
// type in a file of its own and a row of kinds; it is planned by calling check,
// expand, lint and plan, in this order.
type instruction interface {
	instructions.Command
	// check refuses what is not supported, so that nothing is ever silently
	// ignored, and warns of what most likely is a mistake.
	check(warn func(string)) error
	// sources are the stages and images that it takes files from, by what find
	// says of the value of a flag.
	sources(find finder) ([]Origin, error)
	// expand puts values in the place of variables.
	expand(x *expansion) error
	// lint applies BuildKit's build checks.
	lint(s *stagePlanner, l *linter.Linter)
	// plan changes the stage's configuration, and says what else is to be done.
	// The Text of what it returns is the instruction's without its name; with an
	// error, Name says what that is about.
	plan(s *stagePlanner) (Op, error)
}

// finder resolves from, the value of a flag.
type finder func(flag, from string) (Origin, error)

// kind is what there is to know of an instruction before it is planned.
type kind struct {
	// read makes an instruction of what BuildKit's parser has read.
	read func(instructions.Command) (instruction, bool)
	// layer: it may make a layer.
	layer bool
	// trigger: ONBUILD may leave it to a later build.
	trigger bool
	// change: it may change an image without a build, as import --change.
	change bool
}

// kinds has all instructions, but for FROM, by name.
var kinds = map[string]kind{
	"ADD":        {layer: true, trigger: true, read: as(func(c *instructions.AddCommand) instruction { return &addCommand{c} })},
	"ARG":        {trigger: true, read: as(func(c *instructions.ArgCommand) instruction { return &argCommand{ArgCommand: c} })},
	"CMD":        {trigger: true, change: true, read: as(func(c *instructions.CmdCommand) instruction { return &cmdCommand{CmdCommand: c} })},
	"COPY":       {layer: true, trigger: true, read: as(func(c *instructions.CopyCommand) instruction { return &copyCommand{c} })},
	"ENTRYPOINT": {trigger: true, change: true, read: as(func(c *instructions.EntrypointCommand) instruction { return &entrypointCommand{EntrypointCommand: c} })},
	"ENV":        {trigger: true, change: true, read: as(func(c *instructions.EnvCommand) instruction { return &envCommand{EnvCommand: c} })},
	"EXPOSE":     {trigger: true, change: true, read: as(func(c *instructions.ExposeCommand) instruction { return &exposeCommand{ExposeCommand: c} })},
	"HEALTHCHECK": {trigger: true, change: true, read: as(func(c *instructions.HealthCheckCommand) instruction {
		return &healthcheckCommand{HealthCheckCommand: c}
	})},
	"LABEL":      {trigger: true, change: true, read: as(func(c *instructions.LabelCommand) instruction { return &labelCommand{LabelCommand: c} })},
	"MAINTAINER": {read: as(func(c *instructions.MaintainerCommand) instruction { return &maintainerCommand{MaintainerCommand: c} })},
	"ONBUILD":    {read: as(func(c *instructions.OnbuildCommand) instruction { return &onbuildCommand{OnbuildCommand: c} })},
	"RUN":        {layer: true, trigger: true, read: as(func(c *instructions.RunCommand) instruction { return &runCommand{RunCommand: c} })},
	"SHELL":      {trigger: true, change: true, read: as(func(c *instructions.ShellCommand) instruction { return &shellCommand{ShellCommand: c} })},
	"STOPSIGNAL": {trigger: true, change: true, read: as(func(c *instructions.StopSignalCommand) instruction { return &stopsignalCommand{StopSignalCommand: c} })},
	"USER":       {trigger: true, change: true, read: as(func(c *instructions.UserCommand) instruction { return &userCommand{UserCommand: c} })},
	"VOLUME":     {trigger: true, change: true, read: as(func(c *instructions.VolumeCommand) instruction { return &volumeCommand{VolumeCommand: c} })},
	"WORKDIR":    {layer: true, trigger: true, change: true, read: as(func(c *instructions.WorkdirCommand) instruction { return &workdirCommand{WorkdirCommand: c} })},
}

func as[C instructions.Command](wrap func(C) instruction) func(instructions.Command) (instruction, bool) {
	return func(c instructions.Command) (instruction, bool) {
		own, ok := c.(C)
		if !ok {
			return nil, false
		}
		return wrap(own), true
	}
}

// kindOf is the row of an instruction.
func kindOf(c instructions.Command) kind { return kinds[strings.ToUpper(c.Name())] }

// readInstruction makes an instruction of what BuildKit's parser has read.
func readInstruction(c instructions.Command) (instruction, error) {
	if k := kindOf(c); k.read != nil {
		if i, ok := k.read(c); ok {
			return i, nil
		}
	}
	return nil, unsupported(strings.ToUpper(c.Name()), "")
}

// Layers is how many of the instructions may make a layer.
func (s *Stage) Layers() int { return countLayers(s.instructions) }

func countLayers(list []instruction) int {
	n := 0
	for _, i := range list {
		if kindOf(i).layer {
			n++
		}
	}
	return n
}

// configuration is embedded in instructions that change the configuration only,
// and that may be written in each way that BuildKit's parser takes.
type configuration struct{ noSources }

func (configuration) check(func(string)) error { return nil }

// noSources is embedded in instructions that take files from nowhere.
type noSources struct{}

func (noSources) sources(finder) ([]Origin, error) { return nil, nil }

// verbatim is embedded in instructions without variables.
type verbatim struct{}

func (verbatim) expand(*expansion) error { return nil }

// unchecked is embedded in instructions that no build check is about.
type unchecked struct{}

func (unchecked) lint(*stagePlanner, *linter.Linter) {}

// Op is one instruction of a stage, expanded and ready.
type Op struct {
	Name, Text, CreatedBy string
	// Line is where it begins; a trigger of the base is where the stage begins.
	Line     int
	Location []parser.Range
	// Action is what it does to files; nil: it changes the configuration only.
	Action Action
}

// Action is what an instruction does to the files of its stage: an Exec, a Copy
// or a Mkdir.
type Action interface {
	// Sources are what it takes files from.
	Sources() []Origin
	// Key is what makes two of them the same, but for what they take from their
	// sources, and the name of that in the cache key. It must not change: what is
	// in a cache could not be found any more.
	Key() (name string, value any)
	// Linked reports whether it makes a layer without looking at those below.
	Linked() bool
	// Open finds what there is in the sources, and returns its digest.
	Open(ctx context.Context, x Executor) (string, error)
	// Apply does it.
	Apply(ctx context.Context, x Executor) error
	action()
}

// Executor does what actions are made of, in the files of one stage.
type Executor interface {
	// OpenMounts and OpenSources find what an Exec mounts and a Copy copies, and
	// return its digest.
	OpenMounts(ctx context.Context, r *Exec) (string, error)
	OpenSources(ctx context.Context, c *Copy) (string, error)
	Run(ctx context.Context, r *Exec) error
	Copy(ctx context.Context, c *Copy) error
	Mkdir(ctx context.Context, d *Mkdir) error
}
