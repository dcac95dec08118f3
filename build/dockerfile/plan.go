// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// scratch is the base of a stage that starts with no files.
const scratch = "scratch"

// OriginKind says where files come from.
type OriginKind string

// What a stage builds on, and what COPY takes files from.
const (
	FromContext OriginKind = "context"
	FromScratch OriginKind = "scratch"
	FromStage   OriginKind = "stage"
	FromImage   OriginKind = "image"
	FromNamed   OriginKind = "named"
)

// Origin is a base of FROM or a source of COPY.
type Origin struct {
	Kind  OriginKind `json:"kind"`
	Stage int        `json:"stage,omitempty"`
	Image string     `json:"image,omitempty"`
	// Name is that of a named context which is a directory.
	Name string `json:"name,omitempty"`
}

// Plan is which stages are built, in order, and what each builds on.
type Plan struct {
	File *File
	args map[string]string
	// Globals are what the ARGs before the first FROM say.
	Globals map[string]string
	// Order lists the needed stages so that each comes after what it needs.
	Order  []int
	Target int
	Bases  []Origin
	// Platforms are those of the stages; Platform is the target's.
	Platforms []v1.Platform
	Platform  v1.Platform
	contexts  map[string]Context
	// hostNetwork allows RUN --network=host.
	hostNetwork bool
	// Warnings are for the user; none of them stops the build.
	Warnings []string
	// kept are the stages that were planned for the checks; ignored says
	// whether .dockerignore leaves a source out.
	kept    map[int]planned
	ignored func(src string) bool
}

// PlanOptions are what a plan depends on beside the Dockerfile.
type PlanOptions struct {
	Args map[string]string
	// Target is the name or index of a stage; "" is the last one.
	Target   string
	Platform v1.Platform // zero: this machine's
	Contexts map[string]Context
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
}

// NewPlan resolves the bases and picks the stages that the target needs.
func NewPlan(d *File, o PlanOptions) (*Plan, error) {
	if o.Platform.Architecture == "" {
		o.Platform = HostPlatform()
	}
	p := &Plan{File: d, args: o.Args, Platform: o.Platform, contexts: o.Contexts, hostNetwork: o.HostNetwork, Warnings: slices.Clone(d.warnings)}
	stage := o.Target
	if stage == "" {
		stage = d.Stages[len(d.Stages)-1].Name
	}
	p.Globals = platformArgs(o.Platform, stage)
	for name := range p.Globals {
		if v, ok := o.Args[name]; ok {
			p.Globals[name] = v
		}
	}
	if err := p.readGlobals(); err != nil {
		return nil, err
	}
	var err error
	if p.Target, err = p.findTarget(o.Target); err != nil {
		return nil, err
	}
	p.Bases = make([]Origin, len(d.Stages))
	p.Platforms = make([]v1.Platform, len(d.Stages))
	needed := make([]bool, len(d.Stages))
	needed[p.Target] = true
	for i := p.Target; i >= 0; i-- {
		if !needed[i] {
			continue
		}
		if err := p.need(i, needed); err != nil {
			return nil, err
		}
	}
	for i := range d.Stages {
		if _, err := p.baseName(i); err != nil { // also of a stage that is skipped
			return nil, p.File.Fault(d.Stages[i].Location, err)
		}
	}
	for i, n := range needed {
		if !n {
			continue
		}
		p.Order = append(p.Order, i)
		if base := p.Bases[i]; base.Kind == FromStage {
			p.Platforms[i] = p.Platforms[base.Stage]
		}
	}
	p.warnUnused()
	return p, nil
}

// readGlobals takes the ARGs before the first FROM.
func (p *Plan) readGlobals() error {
	for i := range p.File.globals {
		c := p.File.globals[i]
		for _, a := range c.Args {
			value, ok := p.args[a.Key]
			if !ok && a.Value != nil {
				var err error
				if value, err = newExpander(p.File.escape, p.Globals).word(*a.Value); err != nil {
					return p.File.Fault(c.Location(), fmt.Errorf("ARG %s: %w", visible.Line(a.Key), err))
				}
				ok = true
			}
			if ok {
				p.Globals[a.Key] = value
			}
		}
	}
	return nil
}

// lastStage is the stage of that name: of several, the last.
func lastStage(stages []Stage, name string) (int, bool) {
	for i, s := range slices.Backward(stages) {
		if name != "" && strings.EqualFold(s.Name, name) {
			return i, true
		}
	}
	return 0, false
}

// findTarget returns the index of the stage that --target names.
func (p *Plan) findTarget(target string) (int, error) {
	stages := p.File.Stages
	if target == "" {
		return len(stages) - 1, nil
	}
	if i, ok := lastStage(stages, target); ok {
		return i, nil
	}
	if i, err := strconv.Atoi(target); err == nil && i >= 0 && i < len(stages) {
		return i, nil
	}
	var names []string
	for i, s := range stages {
		if s.Name != "" {
			names = append(names, s.Name)
		} else {
			names = append(names, strconv.Itoa(i))
		}
	}
	return 0, p.File.Fault(nil, hint.With(fmt.Errorf("no stage %q", visible.Line(target)),
		"the stages are: "+strings.Join(names, ", ")))
}

// need resolves what stage i builds on and marks the stages it uses.
func (p *Plan) need(i int, needed []bool) error {
	stage := &p.File.Stages[i]
	base, err := p.resolveBase(i)
	if err != nil {
		return p.File.Fault(stage.Location, err)
	}
	p.Bases[i] = base
	if base.Kind == FromStage {
		needed[base.Stage] = true
	}
	for _, cmd := range stage.instructions {
		warn := func(text string) {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s:%d: %s", p.File.name, cmd.Location()[0].Start.Line, text))
		}
		if err := cmd.check(warn); err != nil {
			return p.File.Fault(cmd.Location(), err)
		}
		origins, err := cmd.sources(p.finder(i))
		if err != nil {
			return p.File.Fault(cmd.Location(), err)
		}
		for _, from := range origins {
			if from.Kind == FromStage {
				needed[from.Stage] = true
			}
		}
	}
	return nil
}

// finder resolves the values of flags in stage i.
func (p *Plan) finder(i int) finder {
	return func(flag, from string) (Origin, error) { return p.originOf(flag, from, i) }
}

// baseName expands the name after FROM with the global arguments.
func (p *Plan) baseName(i int) (string, error) {
	stage := &p.File.Stages[i]
	name, err := newExpander(p.File.escape, p.Globals).word(stage.BaseName)
	if err != nil {
		return "", fmt.Errorf("FROM %s: %w", visible.Line(stage.BaseName), err)
	}
	if name == "" {
		return "", hint.With(fmt.Errorf("FROM %s: the name is empty after expansion", visible.Line(stage.BaseName)),
			"only an ARG before the first FROM can be used in FROM; give it a default or --build-arg")
	}
	return name, nil
}

// resolveBase finds what stage i builds on, and for which platform.
func (p *Plan) resolveBase(i int) (Origin, error) {
	stage := &p.File.Stages[i]
	name, err := p.baseName(i)
	if err != nil {
		return Origin{}, err
	}
	if p.Platforms[i], err = p.stagePlatform(newExpander(p.File.escape, p.Globals), stage.Platform); err != nil {
		return Origin{}, err
	}
	if o, ok := p.named(stage.Name); ok && stage.Name != "" {
		return o, nil
	}
	if j, ok := lastStage(p.File.Stages[:i], name); ok {
		return Origin{Kind: FromStage, Stage: j}, nil
	}
	if o, ok := p.named(name); ok {
		return o, nil
	}
	if name == scratch {
		return Origin{Kind: FromScratch}, nil
	}
	return Origin{Kind: FromImage, Image: name}, nil
}

// stagePlatform is the platform that FROM asks for, or the target's.
func (p *Plan) stagePlatform(x *expander, asked string) (v1.Platform, error) {
	if asked == "" {
		return p.Platform, nil
	}
	got, err := x.word(asked)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("FROM --platform=%s: %w", visible.Line(asked), err)
	}
	if got == "" {
		return v1.Platform{}, hint.With(fmt.Errorf("FROM --platform=%s: it is empty after expansion", visible.Line(asked)),
			"$TARGETPLATFORM and $BUILDPLATFORM always have a value; other variables need an ARG before the first FROM")
	}
	platform, err := ParsePlatform(got)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("FROM --platform=%s: %w", visible.Line(asked), err)
	}
	return platform, nil
}

// originOf resolves the value of a flag, as COPY --from, in stage i: a named
// context, an earlier stage's name or index, or an image.
func (p *Plan) originOf(flag, from string, i int) (Origin, error) {
	if from == "" {
		return Origin{Kind: FromContext}, nil
	}
	if strings.ContainsRune(from, '$') {
		return Origin{}, hint.With(fmt.Errorf("%s=%s: variables are not expanded there", flag, visible.Line(from)),
			"add a stage FROM $VARIABLE AS name, and copy from it")
	}
	if j, ok := lastStage(p.File.Stages, from); ok {
		if j >= i {
			return Origin{}, fmt.Errorf("%s=%s: that stage does not come before this one", flag, visible.Line(from))
		}
		return Origin{Kind: FromStage, Stage: j}, nil
	}
	if j, err := strconv.Atoi(from); err == nil {
		if j < 0 || j >= i {
			return Origin{}, hint.With(fmt.Errorf("%s=%d: no earlier stage has that index", flag, j),
				fmt.Sprintf("this is stage %d; stages count from 0", i))
		}
		return Origin{Kind: FromStage, Stage: j}, nil
	}
	if o, ok := p.named(from); ok {
		return o, nil
	}
	if from == scratch {
		return Origin{}, fmt.Errorf("%s=scratch: it has no files", flag)
	}
	return Origin{Kind: FromImage, Image: from}, nil
}

// warnUnused names the build arguments that no ARG of the file takes.
func (p *Plan) warnUnused() {
	known := map[string]bool{EpochArg: true, frontendArg: true, CheckArg: true, InlineCacheArg: true}
	for name := range platformArgs(p.Platform, "") {
		known[name] = true
	}
	for _, name := range proxyArgs {
		known[name] = true
	}
	for _, c := range p.File.globals {
		for _, a := range c.Args {
			known[a.Key] = true
		}
	}
	for _, s := range p.File.Stages {
		for _, cmd := range s.instructions {
			if c, ok := cmd.(*argCommand); ok {
				for _, a := range c.Args {
					known[a.Key] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.args)) {
		if !known[name] {
			p.Warnings = append(p.Warnings, fmt.Sprintf("build argument %s is not used: no ARG of the Dockerfile declares it", visible.Line(name)))
		}
	}
}
