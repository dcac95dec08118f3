// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
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
)

// origin is a base of FROM or a source of COPY.
type origin struct {
	Kind  fromKind `json:"kind"`
	Stage int      `json:"stage,omitempty"`
	Image string   `json:"image,omitempty"`
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
	// warnings are for the user; none of them stops the build.
	warnings []string
}

// newPlan resolves the bases and picks the stages that target needs.
func newPlan(d *dockerfile, args map[string]string, target string) (*plan, error) {
	p := &plan{file: d, args: args, globals: platformArgs(), warnings: slices.Clone(d.warnings)}
	if err := p.readGlobals(); err != nil {
		return nil, err
	}
	var err error
	if p.target, err = p.findTarget(target); err != nil {
		return nil, err
	}
	p.bases = make([]origin, len(d.stages))
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
	for i, n := range needed {
		if n {
			p.order = append(p.order, i)
		}
	}
	p.warnUnused()
	return p, nil
}

// platformArgs are the automatic arguments; a stage sees those that it declares.
func platformArgs() map[string]string {
	m := map[string]string{}
	for _, side := range []string{"TARGET", "BUILD"} {
		m[side+"PLATFORM"] = "linux/" + goruntime.GOARCH
		m[side+"OS"] = "linux"
		m[side+"ARCH"] = goruntime.GOARCH
		m[side+"VARIANT"] = ""
	}
	return m
}

// readGlobals takes the ARGs before the first FROM.
func (p *plan) readGlobals() error {
	for i := range p.file.globals {
		c := &p.file.globals[i]
		for _, a := range c.Args {
			value, ok := p.args[a.Key]
			if !ok && a.Value != nil {
				var err error
				if value, err = newExpander(p.file.escape, p.globals).word(*a.Value); err != nil {
					return p.file.fault(c.Location(), fmt.Errorf("ARG %s: %w", visible(a.Key), err))
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

// findTarget returns the index of the stage that --target names.
func (p *plan) findTarget(target string) (int, error) {
	stages := p.file.stages
	if target == "" {
		return len(stages) - 1, nil
	}
	if i, ok := instructions.HasStage(stages, target); ok {
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
	return 0, p.file.fault(nil, withHint(fmt.Errorf("no stage %q", visible(target)),
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
	for _, cmd := range stage.Commands {
		if err := checkSupported(cmd); err != nil {
			return p.file.fault(cmd.Location(), err)
		}
		p.warnForm(cmd)
		c, ok := cmd.(*instructions.CopyCommand)
		if !ok {
			continue
		}
		from, err := p.copyOrigin(c.From, i)
		if err != nil {
			return p.file.fault(cmd.Location(), err)
		}
		if from.Kind == fromStage {
			needed[from.Stage] = true
		}
	}
	return nil
}

// warnForm warns about an exec form that is no JSON and so is a shell command.
func (p *plan) warnForm(cmd instructions.Command) {
	var line instructions.ShellDependantCmdLine
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		line = c.ShellDependantCmdLine
	case *instructions.CmdCommand:
		line = c.ShellDependantCmdLine
	case *instructions.EntrypointCommand:
		line = c.ShellDependantCmdLine
	default:
		return
	}
	text := strings.TrimSpace(strings.Join(line.CmdLine, " "))
	if line.PrependShell && strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") && !strings.HasPrefix(text, "[ ") && !strings.HasPrefix(text, "[[") {
		p.warnings = append(p.warnings, fmt.Sprintf("%s:%d: %s is run by the shell, as its list is no JSON (use double quotes)",
			p.file.name, cmd.Location()[0].Start.Line, strings.ToUpper(cmd.Name())))
	}
}

// resolveBase expands the name after FROM with the global arguments.
func (p *plan) resolveBase(i int) (origin, error) {
	stage := &p.file.stages[i]
	x := newExpander(p.file.escape, p.globals)
	name, err := x.word(stage.BaseName)
	if err != nil {
		return origin{}, fmt.Errorf("FROM %s: %w", visible(stage.BaseName), err)
	}
	if name == "" {
		return origin{}, withHint(fmt.Errorf("FROM %s: the name is empty after expansion", visible(stage.BaseName)),
			"only an ARG before the first FROM can be used in FROM; give it a default or --build-arg")
	}
	if err := p.checkPlatform(x, stage.Platform); err != nil {
		return origin{}, err
	}
	if j, ok := instructions.HasStage(p.file.stages[:i], name); ok {
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if name == scratch {
		return origin{Kind: fromScratch}, nil
	}
	return origin{Kind: fromImage, Image: name}, nil
}

func (p *plan) checkPlatform(x *expander, platform string) error {
	if platform == "" {
		return nil
	}
	got, err := x.word(platform)
	if err != nil {
		return fmt.Errorf("FROM --platform=%s: %w", visible(platform), err)
	}
	here := "linux/" + goruntime.GOARCH
	if got == here || got == "linux" || got == goruntime.GOARCH || got == here+"/v8" && goruntime.GOARCH == "arm64" {
		return nil
	}
	return unsupported("FROM --platform="+visible(got), "images are built for this machine's platform, "+here)
}

// copyOrigin resolves the value of --from in stage i: an earlier stage's name
// or index, or an image.
func (p *plan) copyOrigin(from string, i int) (origin, error) {
	if from == "" {
		return origin{Kind: fromContext}, nil
	}
	if strings.ContainsRune(from, '$') {
		return origin{}, withHint(fmt.Errorf("COPY --from=%s: variables are not expanded there", visible(from)),
			"name a stage with FROM $VARIABLE AS name, and copy from that")
	}
	if j, ok := instructions.HasStage(p.file.stages, from); ok {
		if j >= i {
			return origin{}, fmt.Errorf("COPY --from=%s: that stage does not come before this one", visible(from))
		}
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if j, err := strconv.Atoi(from); err == nil {
		if j < 0 || j >= i {
			return origin{}, withHint(fmt.Errorf("COPY --from=%d: no earlier stage has that index", j),
				fmt.Sprintf("this is stage %d; stages count from 0", i))
		}
		return origin{Kind: fromStage, Stage: j}, nil
	}
	if from == scratch {
		return origin{}, fmt.Errorf("COPY --from=scratch: it has no files")
	}
	return origin{Kind: fromImage, Image: from}, nil
}

// warnUnused names the build arguments that no ARG of the file takes.
func (p *plan) warnUnused() {
	known := map[string]bool{epochArg: true}
	for name := range platformArgs() {
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
		for _, cmd := range s.Commands {
			if c, ok := cmd.(*instructions.ArgCommand); ok {
				for _, a := range c.Args {
					known[a.Key] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.args)) {
		if !known[name] {
			p.warnings = append(p.warnings, fmt.Sprintf("build argument %s is not used: no ARG of the Dockerfile declares it", visible(name)))
		}
	}
}
