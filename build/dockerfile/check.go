// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

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
	plan   *StagePlan
	base   rootfs.Config
	parent *StagePlan
}

// Check plans the stages and applies the rules that need a plan: to FROM, and to
// each instruction. Base gives the configuration that stage i starts from; false:
// it is not known. Plans on bases that are known are kept for the build. The
// error is the first of planning.
func (p *Plan) Check(base func(i int) (rootfs.Config, bool), ignored func(string) bool) error {
	p.checkFrom()
	p.ignored, p.kept = ignored, map[int]planned{}
	stages, known := map[int]*StagePlan{}, map[int]bool{}
	for _, i := range p.Order {
		config, ok := rootfs.Config{}, false
		var parent *StagePlan
		if from := p.Bases[i]; from.Kind == FromStage {
			parent, ok = stages[from.Stage], known[from.Stage]
			config = parent.Config
		} else if config, ok = base(i); !ok {
			config = ScratchConfig(p.Platforms[i])
		}
		s, err := p.planStage(i, config, parent, &checks{lint: p.File.lint, baseKnown: ok, ignored: ignored})
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

// Stage is the plan of stage i on its base: that of the checks, if they knew this
// base, or one of the file read anew, as planning expands instructions where they
// are. Then it also returns what the checks find now and did not before.
func (p *Plan) Stage(i int, base rootfs.Config, parent *StagePlan) (*StagePlan, []Finding, error) {
	if k, ok := p.kept[i]; ok && k.parent == parent && (parent != nil || sameBase(k.base, base)) {
		k.plan.Config.Created, k.plan.Config.History = base.Created, base.History
		return k.plan, nil, nil
	}
	fresh, err := p.File.again()
	if err != nil {
		return nil, nil, err
	}
	q := *p
	q.File = fresh
	s, err := q.planStage(i, base, parent, &checks{lint: fresh.lint, baseKnown: true, ignored: p.ignored})
	return s, slices.DeleteFunc(fresh.Findings, func(f Finding) bool { return slices.Contains(p.File.Findings, f) }), err
}

// FailsOnFindings reports whether the file says # check=error=true.
func (d *File) FailsOnFindings() bool { return d.lint.ReturnAsError }

// sameBase compares what a plan depends on.
func sameBase(a, b rootfs.Config) bool {
	a.Created, a.History, b.Created, b.History = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

// again reads the file once more.
func (d *File) again() (*File, error) {
	ast, err := parser.Parse(bytes.NewReader(d.data))
	if err != nil {
		return nil, d.parserFault(err)
	}
	fresh := &File{name: d.name, lines: d.lines, escape: d.escape}
	if err := fresh.startLint(d.data, d.checks); err != nil {
		return nil, err
	}
	return fresh, fresh.readInstructions(ast.AST.Children)
}

// silentLint is for parsing without checks: the parser follows a nil one where
// a comment says # check=.
func silentLint() *linter.Linter { return linter.New(&linter.Config{}) }
