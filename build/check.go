// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// checks is what the rules that are applied while a stage is planned go by; nil:
// none is applied.
type checks struct {
	lint *linter.Linter
	// baseKnown: what the base image sets is known.
	baseKnown bool
	// ignored, if set: .dockerignore leaves a source out.
	ignored func(src string) bool
}

// planned is a stage that was planned for the checks, and what on.
type planned struct {
	plan   *stagePlan
	base   rootfs.Config
	parent *stagePlan
}

// bases gives the configuration that stage i starts from; false: it is not known.
type bases func(i int) (rootfs.Config, bool)

// check plans the stages and applies the rules that need a plan: to FROM, and to
// each instruction. Plans on bases that are known are kept for the build. The
// error is the first of planning.
func (p *plan) check(base bases, ignored func(string) bool) error {
	p.checkFrom()
	p.ignored, p.kept = ignored, map[int]planned{}
	stages, known := map[int]*stagePlan{}, map[int]bool{}
	for _, i := range p.order {
		config, ok := rootfs.Config{}, false
		var parent *stagePlan
		if from := p.bases[i]; from.Kind == fromStage {
			parent, ok = stages[from.Stage], known[from.Stage]
			config = parent.Config
		} else if config, ok = base(i); !ok {
			config = scratchConfig(p.platforms[i])
		}
		s, err := p.planStage(i, config, parent, &checks{lint: p.file.lint, baseKnown: ok, ignored: ignored})
		if err != nil {
			return err
		}
		stages[i], known[i] = s, ok
		if ok {
			p.kept[i] = planned{s, config, parent}
		}
	}
	return nil
}

// stage is the plan of stage i on its base: that of the checks, if they knew this
// base, or one of the file read anew, as planning expands instructions where they
// are. Then it also returns what the checks find now and did not before.
func (p *plan) stage(i int, base rootfs.Config, parent *stagePlan) (*stagePlan, []Finding, error) {
	if k, ok := p.kept[i]; ok && k.parent == parent && (parent != nil || sameBase(k.base, base)) {
		k.plan.Config.Created, k.plan.Config.History = base.Created, base.History
		return k.plan, nil, nil
	}
	fresh, err := p.file.again()
	if err != nil {
		return nil, nil, err
	}
	q := *p
	q.file = fresh
	s, err := q.planStage(i, base, parent, &checks{lint: fresh.lint, baseKnown: true, ignored: p.ignored})
	return s, slices.DeleteFunc(fresh.findings, func(f Finding) bool { return slices.Contains(p.file.findings, f) }), err
}

// sameBase compares what a plan depends on.
func sameBase(a, b rootfs.Config) bool {
	a.Created, a.History, b.Created, b.History = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

// again reads the file once more.
func (d *dockerfile) again() (*dockerfile, error) {
	ast, err := parser.Parse(bytes.NewReader(d.data))
	if err != nil {
		return nil, d.parserFault(err)
	}
	fresh := &dockerfile{name: d.name, lines: d.lines, escape: d.escape}
	if err := fresh.startLint(d.data, d.checks); err != nil {
		return nil, err
	}
	return fresh, fresh.readInstructions(ast.AST.Children)
}

// silentLint is for parsing without checks: the parser follows a nil one where
// a comment says # check=.
func silentLint() *linter.Linter { return linter.New(&linter.Config{}) }

// Check reads a Dockerfile and says what BuildKit's build checks find in it.
// Nothing is built or fetched, but for configurations of base images by
// o.BaseConfig.
func Check(ctx context.Context, o Options) ([]Finding, error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	b := newBuilder(o, newShared(1))
	if err := b.prepare(); err != nil {
		return nil, err
	}
	err := b.openContexts()
	if err == nil {
		err = b.lint(ctx)
	}
	return b.plan.file.findings, errors.Join(err, b.closeContexts())
}

// lint checks the plan. What a base image that is not here sets is not known.
func (b *builder) lint(ctx context.Context) error {
	return b.plan.check(func(i int) (rootfs.Config, bool) {
		from, platform := b.plan.bases[i], b.plan.platforms[i]
		if from.Kind != fromImage {
			return scratchConfig(platform), true
		}
		return b.baseConfig(ctx, from.Image, platform)
	}, b.context.LeavesOut)
}

// baseConfig is the configuration of an image that is here, or that can be asked for.
func (b *builder) baseConfig(ctx context.Context, ref string, platform v1.Platform) (rootfs.Config, bool) {
	if canonical, err := rootfs.ParseReference(ref); err == nil {
		ref = canonical
	}
	if img, err := b.Store.ImageFor(ctx, ref, platform); err == nil {
		return img.Config, true
	}
	if img, err := b.Store.Image(ctx, ref); err == nil {
		return img.Config, true
	}
	if b.BaseConfig == nil {
		return rootfs.Config{}, false
	}
	c, err := b.BaseConfig(ctx, ref, platform)
	if err != nil {
		b.Progress.Warn(fmt.Sprintf("the variables of stages on %s are not checked: %v", visible.Line(ref), err))
	}
	return c, err == nil
}

// warn tells of what the checks found, and refuses the build where the
// Dockerfile says # check=error=true.
func (b *builder) warn(ctx context.Context) error {
	_ = b.lint(ctx) // an error in the file comes up when its stage is planned
	for _, w := range b.plan.warnings {
		b.Progress.Warn(w)
	}
	return b.tell(b.plan.file.findings)
}

// tell warns of findings, or fails for them.
func (b *builder) tell(found []Finding) error {
	for _, f := range found {
		b.Progress.Warn(f.String())
	}
	file := b.plan.file
	if !file.lint.ReturnAsError || len(found) == 0 {
		return nil
	}
	var rules []string
	for _, f := range found {
		if !slices.Contains(rules, f.Rule) {
			rules = append(rules, f.Rule)
		}
	}
	return file.fault(nil, hint.With(errors.New("lint violation found for rules: "+strings.Join(rules, ", ")),
		"check=error=true makes errors of warnings; cpc build --check shows each with its place"))
}
