// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

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

// fromKind says where files come from.
type fromKind string

// What a stage builds on, and what COPY takes files from.
const (
	fromContext fromKind = "context"
	fromScratch fromKind = "scratch"
	fromStage   fromKind = "stage"
	fromImage   fromKind = "image"
	fromNamed   fromKind = "named"
)

// origin is a base of FROM or a source of COPY.
type origin struct {
	Kind  fromKind `json:"kind"`
	Stage int      `json:"stage,omitempty"`
	Image string   `json:"image,omitempty"`
	// Name is that of a named context which is a directory.
	Name string `json:"name,omitempty"`
}

// plan is which stages are built, in order, and what each builds on.
type plan struct {
	file    *dockerfile
	args    map[string]string
	globals map[string]string
	// order lists the needed stages so that each comes after what it needs.
	order  []int
	target int
	bases  []origin
	// platforms are those of the stages; platform is the target's.
	platforms []v1.Platform
	platform  v1.Platform
	contexts  map[string]Context
	// hostNetwork allows RUN --network=host.
	hostNetwork bool
	// warnings are for the user; none of them stops the build.
	warnings []string
	// kept are the stages that were planned for the checks; ignored says
	// whether .dockerignore leaves a source out.
	kept    map[int]planned
	ignored func(src string) bool
}

// planOptions are what a plan depends on beside the Dockerfile.
type planOptions struct {
	args     map[string]string
	target   string
	platform v1.Platform // zero: this machine's
	contexts map[string]Context
	// hostNetwork allows RUN --network=host.
	hostNetwork bool
}

// newPlan resolves the bases and picks the stages that the target needs.
func newPlan(d *dockerfile, o planOptions) (*plan, error) {
	if o.platform.Architecture == "" {
		o.platform = HostPlatform()
	}
	p := &plan{file: d, args: o.args, platform: o.platform, contexts: o.contexts, hostNetwork: o.hostNetwork, warnings: slices.Clone(d.warnings)}
	stage := o.target
	if stage == "" {
		stage = d.stages[len(d.stages)-1].Name
	}
	p.globals = platformArgs(o.platform, stage)
	for name := range p.globals {
		if v, ok := o.args[name]; ok {
			p.globals[name] = v
		}
	}
	if err := p.readGlobals(); err != nil {
		return nil, err
	}
	var err error
	if p.target, err = p.findTarget(o.target); err != nil {
		return nil, err
	}
	p.bases = make([]origin, len(d.stages))
	p.platforms = make([]v1.Platform, len(d.stages))
	needed := make([]bool, len(d.stages))
	needed[p.target] = true
	for i := p.target; i >= 0; i-- {
		if !needed[i] {
			continue
		}
		if err := p.need(i, needed); err != nil {
			return nil, err
		}
	}
	for i := range d.stages {
		if _, err := p.baseName(i); err != nil { // also of a stage that is skipped
			return nil, p.file.fault(d.stages[i].Location, err)
		}
	}
	for i, n := range needed {
		if !n {
			continue
		}
		p.order = append(p.order, i)
		if base := p.bases[i]; base.Kind == fromStage {
			p.platforms[i] = p.platforms[base.Stage]
		}
	}
	p.warnUnused()
	return p, nil
}

// readGlobals takes the ARGs before the first FROM.
func (p *plan) readGlobals() error {
	for i := range p.file.globals {
		c := p.file.globals[i]
		for _, a := range c.Args {
			value, ok := p.args[a.Key]
			if !ok && a.Value != nil {
				var err error
				if value, err = newExpander(p.file.escape, p.globals).word(*a.Value); err != nil {
					return p.file.fault(c.Location(), fmt.Errorf("ARG %s: %w", visible.Line(a.Key), err))
				}
				ok = true
			}
			if ok {
				p.globals[a.Key] = value
			}
		}
	}
	return nil
}

// lastStage is the stage of that name: of several, the last.
func lastStage(stages []fileStage, name string) (int, bool) {
	for i, s := range slices.Backward(stages) {
		if name != "" && strings.EqualFold(s.Name, name) {
			return i, true
		}
	}
	return 0, false
}

// findTarget returns the index of the stage that --target names.
func (p *plan) findTarget(target string) (int, error) {
	stages := p.file.stages
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
	return 0, p.file.fault(nil, hint.With(fmt.Errorf("no stage %q", visible.Line(target)),
		"the stages are: "+strings.Join(names, ", ")))
}

// need resolves what stage i builds on and marks the stages it uses.
func (p *plan) need(i int, needed []bool) error {
	stage := &p.file.stages[i]
	base, err := p.resolveBase(i)
	if err != nil {
		return p.file.fault(stage.Location, err)
	}
	p.bases[i] = base
	if base.Kind == fromStage {
		needed[base.Stage] = true
	}
	for _, cmd := range stage.instructions {
		warn := func(text string) {
			p.warnings = append(p.warnings, fmt.Sprintf("%s:%d: %s", p.file.name, cmd.Location()[0].Start.Line, text))
		}
		if err := cmd.check(warn); err != nil {
			return p.file.fault(cmd.Location(), err)
		}
		origins, err := cmd.sources(p.finder(i))
		if err != nil {
			return p.file.fault(cmd.Location(), err)
		}
		for _, from := range origins {
			if from.Kind == fromStage {
				needed[from.Stage] = true
			}
		}
	}
	return nil
}

// finder resolves the values of flags in stage i.
func (p *plan) finder(i int) finder {
	return func(flag, from string) (origin, error) { return p.originOf(flag, from, i) }
}

// baseName expands the name after FROM with the global arguments.
func (p *plan) baseName(i int) (string, error) {
	stage := &p.file.stages[i]
	name, err := newExpander(p.file.escape, p.globals).word(stage.BaseName)
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
func (p *plan) resolveBase(i int) (origin, error) {
	stage := &p.file.stages[i]
	name, err := p.baseName(i)
	if err != nil {
		return origin{}, err
	}
	if p.platforms[i], err = p.stagePlatform(newExpander(p.file.escape, p.globals), stage.Platform); err != nil {
		return origin{}, err
	}
	if o, ok := p.named(stage.Name); ok && stage.Name != "" {
		return o, nil
	}
	if j, ok := lastStage(p.file.stages[:i], name); ok {
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if o, ok := p.named(name); ok {
		return o, nil
	}
	if name == scratch {
		return origin{Kind: fromScratch}, nil
	}
	return origin{Kind: fromImage, Image: name}, nil
}

// stagePlatform is the platform that FROM asks for, or the target's.
func (p *plan) stagePlatform(x *expander, asked string) (v1.Platform, error) {
	if asked == "" {
		return p.platform, nil
	}
	got, err := x.word(asked)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("FROM --platform=%s: %w", visible.Line(asked), err)
	}
	if got == "" {
		return v1.Platform{}, hint.With(fmt.Errorf("FROM --platform=%s: it is empty after expansion", visible.Line(asked)),
			"$TARGETPLATFORM and $BUILDPLATFORM are always there; others need an ARG before the first FROM")
	}
	platform, err := ParsePlatform(got)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("FROM --platform=%s: %w", visible.Line(asked), err)
	}
	return platform, nil
}

// originOf resolves the value of a flag, as COPY --from, in stage i: a named
// context, an earlier stage's name or index, or an image.
func (p *plan) originOf(flag, from string, i int) (origin, error) {
	if from == "" {
		return origin{Kind: fromContext}, nil
	}
	if strings.ContainsRune(from, '$') {
		return origin{}, hint.With(fmt.Errorf("%s=%s: variables are not expanded there", flag, visible.Line(from)),
			"name a stage with FROM $VARIABLE AS name, and copy from that")
	}
	if j, ok := lastStage(p.file.stages, from); ok {
		if j >= i {
			return origin{}, fmt.Errorf("%s=%s: that stage does not come before this one", flag, visible.Line(from))
		}
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if j, err := strconv.Atoi(from); err == nil {
		if j < 0 || j >= i {
			return origin{}, hint.With(fmt.Errorf("%s=%d: no earlier stage has that index", flag, j),
				fmt.Sprintf("this is stage %d; stages count from 0", i))
		}
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if o, ok := p.named(from); ok {
		return o, nil
	}
	if from == scratch {
		return origin{}, fmt.Errorf("%s=scratch: it has no files", flag)
	}
	return origin{Kind: fromImage, Image: from}, nil
}

// warnUnused names the build arguments that no ARG of the file takes.
func (p *plan) warnUnused() {
	known := map[string]bool{epochArg: true, frontendArg: true, checkArg: true, InlineCacheArg: true}
	for name := range platformArgs(p.platform, "") {
		known[name] = true
	}
	for _, name := range proxyArgs {
		known[name] = true
	}
	for _, c := range p.file.globals {
		for _, a := range c.Args {
			known[a.Key] = true
		}
	}
	for _, s := range p.file.stages {
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
			p.warnings = append(p.warnings, fmt.Sprintf("build argument %s is not used: no ARG of the Dockerfile declares it", visible.Line(name)))
		}
	}
}
