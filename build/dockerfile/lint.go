// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Finding is what one of BuildKit's build checks found in a Dockerfile.
type Finding struct {
	// Rule is the check's name, URL its documentation.
	Rule, Description, URL string
	// Message is about this place.
	Message string
	// File, Line and Excerpt are the place; Line is 0 for the file as a whole.
	File    string
	Line    int
	Excerpt string
}

// String is the finding in one line, as docker words it.
func (f *Finding) String() string {
	return linter.LintFormatShort(f.Rule, f.Message, f.Line)
}

// CheckArg replaces the directive # check=.
const CheckArg = "BUILDKIT_DOCKERFILE_CHECK"

// startLint reads # check=skip=…;error=…, or what is given in its place.
func (d *File) startLint(data []byte, given string) error {
	value, _, loc, _ := parser.ParseDirective("check", data)
	if given != "" {
		value, loc = given, nil
	}
	config, err := linter.ParseLintOptions(value)
	if err != nil {
		return d.Fault(loc, hint.With(fmt.Errorf("check=%s: %s", visible.Line(value), visible.Line(err.Error())), "write # check=skip=RULE,RULE;error=true"))
	}
	d.checks = given
	config.Warn = func(rule, description, url, message string, loc []parser.Range) {
		f := Finding{Rule: rule, Description: description, URL: url, Message: visible.Bounded(message, MaxMessage), File: d.name}
		if len(loc) > 0 {
			at := d.Fault(loc, nil)
			f.Line, f.Excerpt = at.Line, at.Excerpt
		}
		if len(d.Findings) < maxInstructions && !slices.Contains(d.Findings, f) {
			d.Findings = append(d.Findings, f)
		}
	}
	d.lint = linter.New(config)
	return nil
}

// lintFile applies the rules about stages' names and the case of keywords.
func (d *File) lintFile() {
	names := map[string]bool{}
	lower, upper := 0, 0
	each := func(visit func(word string, loc []parser.Range)) {
		for _, s := range d.Stages {
			visit(s.OrigCmd, s.Location)
			for _, c := range s.instructions {
				visit(c.Name(), c.Location())
			}
		}
	}
	for _, s := range d.Stages {
		if s.Name == scratch || s.Name == "context" {
			d.lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if s.Name != "" && names[s.Name] {
			d.lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		names[s.Name] = true
	}
	each(func(word string, _ []parser.Range) {
		switch word {
		case strings.ToLower(word):
			lower++
		case strings.ToUpper(word):
			upper++
		}
	})
	want, named := strings.ToUpper, "uppercase"
	if lower > upper {
		want, named = strings.ToLower, "lowercase"
	}
	each(func(word string, loc []parser.Range) {
		if word != want(word) {
			d.lint.Run(&linter.RuleConsistentInstructionCasing, loc, linter.RuleConsistentInstructionCasing.Format(word, named))
		}
	})
}

// checkFrom applies the rules about variables and platforms after FROM.
func (p *Plan) checkFrom() {
	defaults := &Plan{File: p.File, Globals: platformArgs(p.Platform, "")}
	defaultsKnown := defaults.readGlobals() == nil
	declared := slices.Sorted(maps.Keys(p.Globals))
	for _, c := range p.File.globals {
		for _, a := range c.Args {
			declared = append(declared, a.Key)
		}
	}
	for i := range p.File.Stages {
		s := &p.File.Stages[i]
		lint := merged(p.File.lint, s.Comments)
		x := newExpander(p.File.escape, p.Globals)
		_, _ = x.word(s.BaseName)
		platform, err := x.word(s.Platform)
		for _, name := range x.undefined(declared) {
			near, _ := suggest.Search(name, declared, true)
			lint.Run(&linter.RuleUndefinedArgInFrom, s.Location, linter.RuleUndefinedArgInFrom.Format(name, near))
		}
		if err == nil {
			checkPlatform(lint, s, platform)
		}
		if !defaultsKnown {
			continue
		}
		name, err := newExpander(p.File.escape, defaults.Globals).word(s.BaseName)
		if err != nil {
			continue
		}
		if _, err := reference.ParseNormalizedNamed(name); err != nil {
			p.File.lint.Run(&linter.RuleInvalidDefaultArgInFrom, s.Location, linter.RuleInvalidDefaultArgInFrom.Format(s.BaseName))
		}
	}
}

// checkPlatform looks at FROM --platform, whose value is platform.
func checkPlatform(lint *linter.Linter, s *Stage, platform string) {
	switch {
	case s.Platform == "":
	case s.Platform == "$TARGETPLATFORM" || s.Platform == "${TARGETPLATFORM}":
		lint.Run(&linter.RuleRedundantTargetPlatform, s.Location, linter.RuleRedundantTargetPlatform.Format(s.Platform))
	case !strings.Contains(s.Platform, "$"):
		// A stage whose name says what it is for is meant for that platform.
		p, err := ParsePlatform(platform)
		if err == nil && !strings.Contains(s.Name, p.OS) && !strings.Contains(s.Name, p.Architecture) {
			lint.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(platform))
		}
	}
}

// merged is lint with what a comment # check=… above the instruction adds.
func merged(lint *linter.Linter, comments []string) *linter.Linter {
	if lint == nil {
		return nil
	}
	return lint.WithMergedConfigFromComments(comments)
}

// lintState is what the rules remember of a stage.
type lintState struct {
	last       map[string][]parser.Range
	declared   []string
	workdirSet bool
}

// lintEntry is about instructions of which the last one counts; shell says
// that a command is given in the shell form.
func (s *stagePlanner) lintEntry(lint *linter.Linter, cmd instructions.Command, shell bool) {
	name := strings.ToUpper(cmd.Name())
	if last, ok := s.seen.last[name]; ok {
		lint.Run(&linter.RuleMultipleInstructionsDisallowed, last, linter.RuleMultipleInstructionsDisallowed.Format(cmd.Name()))
	}
	if s.seen.last == nil {
		s.seen.last = map[string][]parser.Range{}
	}
	s.seen.last[name] = cmd.Location()
	if shell && len(s.config.Docker.Shell) == 0 {
		lint.Run(&linter.RuleJSONArgsRecommended, cmd.Location(), linter.RuleJSONArgsRecommended.Format(cmd.Name()))
	}
}

func lintPair(lint *linter.Linter, name string, kv instructions.KeyValuePair, loc []parser.Range) {
	if kv.NoDelim {
		lint.Run(&linter.RuleLegacyKeyValueFormat, loc, linter.RuleLegacyKeyValueFormat.Format(name))
	}
}

// lintSecret goes by the words of a variable's name.
func lintSecret(lint *linter.Linter, instruction, name string, loc []parser.Range) {
	words := strings.Split(strings.ToLower(name), "_")
	has := func(listed ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(listed, w) })
	}
	if has("apikey", "auth", "credential", "credentials", "key", "passwd", "password", "pword", "secret", "token") && !has("file", "public", "version") {
		lint.Run(&linter.RuleSecretsUsedInArgOrEnv, loc, linter.RuleSecretsUsedInArgOrEnv.Format(instruction, name))
	}
}

func (s *stagePlanner) lintIgnored(lint *linter.Linter, verb string, sources []string, loc []parser.Range) {
	for _, src := range sources {
		if kind, _, err := Classify(src); s.checks.ignored == nil || kind != NotRemote || err != nil {
			continue
		}
		if src = path.Clean(src); s.checks.ignored(src) {
			lint.Run(&linter.RuleCopyIgnoredFile, loc, linter.RuleCopyIgnoredFile.Format(verb, src))
		}
	}
}

// lintVariables tells of variables of cmd that x found without a value.
func (s *stagePlanner) lintVariables(x *expander, cmd instructions.Command) {
	if s.lint == nil || !s.checks.baseKnown { // the base may set any
		return
	}
	for _, name := range x.undefined(s.seen.declared) {
		near, _ := suggest.Search(name, slices.Sorted(maps.Keys(x.values)), true)
		s.lint.Run(&linter.RuleUndefinedVar, cmd.Location(), linter.RuleUndefinedVar.Format(name, near))
	}
}
