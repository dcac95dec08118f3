// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Bounds on a Dockerfile. They are far above what people write and low enough
// that a hostile file costs neither memory nor time worth mentioning.
const (
	MaxSize         = 1 << 20
	maxLines        = 20000
	maxInstructions = 2000
	maxStages       = 100
)

// File is a parsed Dockerfile: every instruction is well formed, none is
// expanded yet.
type File struct {
	name    string
	lines   []string
	escape  rune
	Stages  []Stage
	globals []*argCommand
	// warnings are the parser's, one line each.
	warnings []string
	// lint adds to Findings what build checks find.
	lint     *linter.Linter
	Findings []Finding
	data     []byte
	checks   string // in place of # check=
}

// Stage is a stage as the file has it. The instructions stand in for the
// parser's Commands.
type Stage struct {
	instructions.Stage
	instructions []instruction
}

// dockerSyntax matches the frontends that this package stands in for.
var dockerSyntax = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(-upstream)?(:(latest|labs|experimental|nightly|(master|1(\.[0-9]+)*)(-rc[0-9]+)?(-labs|-experimental)?))?(@sha256:[0-9a-f]{64})?$`)

// Parse parses data; name is used in messages only. Checks, unless
// "", is used in place of the file's directive # check=.
func Parse(name string, data []byte, checks string) (*File, error) {
	d := &File{name: name, data: data}
	if len(data) > MaxSize {
		return nil, d.Fault(nil, fmt.Errorf("larger than %d bytes", MaxSize))
	}
	d.lines = strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(d.lines) > maxLines {
		return nil, d.Fault(nil, fmt.Errorf("more than %d lines", maxLines))
	}
	if err := d.checkSyntax(data); err != nil {
		return nil, err
	}
	if err := d.startLint(data, checks); err != nil {
		return nil, err
	}
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, d.parserFault(err)
	}
	if len(ast.AST.Children) > maxInstructions {
		return nil, d.Fault(nil, fmt.Errorf("more than %d instructions", maxInstructions))
	}
	d.escape = ast.EscapeToken
	for _, w := range ast.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			d.lint.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
			continue
		}
		line := 0
		if w.Location != nil {
			line = w.Location.Start.Line
		}
		d.warnings = append(d.warnings, fmt.Sprintf("%s:%d: %s", name, line, visible.Bounded(w.Short, MaxMessage)))
	}
	if err := d.readInstructions(ast.AST.Children); err != nil {
		return d, err
	}
	d.lintFile()
	return d, nil
}

// checkSyntax refuses a file that asks for another frontend than docker's own.
func (d *File) checkSyntax(data []byte) error {
	syntax, _, loc, ok := parser.DetectSyntax(data)
	if !ok {
		return nil
	}
	if fields := strings.Fields(syntax); len(fields) > 0 {
		syntax = fields[0]
	}
	if dockerSyntax.MatchString(syntax) {
		return nil
	}
	return d.Fault(loc, unsupported("# syntax="+visible.Line(syntax),
		"only docker/dockerfile:1 is understood, which is built in: another frontend would be a program of its author's that runs the build"))
}

// frontendArg asks for another frontend, as # syntax= does.
const frontendArg = "BUILDKIT_SYNTAX"

// CheckFrontend refuses a build argument that asks for another frontend.
func CheckFrontend(args map[string]string) error {
	if v := args[frontendArg]; v != "" && !dockerSyntax.MatchString(v) {
		return fmt.Errorf("build argument %s=%s: not supported: only docker/dockerfile:1 is understood, and it is built in", frontendArg, visible.Line(v))
	}
	return nil
}

// readInstructions types each node; it is instructions.Parse, but it keeps the
// position of every error.
func (d *File) readInstructions(nodes []*parser.Node) error {
	for _, n := range nodes {
		typed, err := instructions.ParseInstructionWithLinter(n, d.lint)
		if err != nil {
			return d.Fault(n.Location(), cleanParserError(err))
		}
		if err := d.add(typed); err != nil {
			return d.Fault(n.Location(), err)
		}
	}
	if len(d.Stages) == 0 {
		return d.Fault(nil, errors.New("no FROM instruction: nothing to build"))
	}
	return nil
}

// add takes one instruction, or the beginning of a stage.
func (d *File) add(typed any) error {
	if stage, ok := typed.(*instructions.Stage); ok {
		if len(d.Stages) == maxStages {
			return fmt.Errorf("more than %d stages", maxStages)
		}
		d.Stages = append(d.Stages, Stage{Stage: *stage})
		return nil
	}
	c, ok := typed.(instructions.Command)
	if !ok {
		return fmt.Errorf("the parser gives a %T, which is no instruction", typed)
	}
	i, err := readInstruction(c)
	if err != nil {
		return err
	}
	if len(d.Stages) > 0 {
		last := &d.Stages[len(d.Stages)-1]
		last.instructions = append(last.instructions, i)
		return nil
	}
	arg, ok := i.(*argCommand)
	if !ok {
		return hint.With(fmt.Errorf("%s before the first FROM", strings.ToUpper(c.Name())), "only ARG and comments may come before FROM")
	}
	d.globals = append(d.globals, arg)
	return nil
}

// parserFault gives a position to an error of the line parser.
func (d *File) parserFault(err error) error {
	var loc []parser.Range
	if le, ok := errors.AsType[*parser.LocationError](err); ok && len(le.Locations) > 0 {
		loc = le.Locations[0]
	}
	if len(strings.TrimSpace(strings.Join(d.lines, ""))) == 0 {
		return d.Fault(nil, errors.New("the file is empty"))
	}
	return d.Fault(loc, cleanParserError(err))
}

// didYouMean is how the parser appends a suggestion.
var didYouMean = regexp.MustCompile(`(?s)^(.*) \(did you mean (.*)\?\)$`)

// cleanParserError makes a hint of the parser's suggestion, and says what is
// missing in our words where the parser's are hard to understand.
func cleanParserError(err error) error {
	msg := err.Error()
	suggested := ""
	if m := didYouMean.FindStringSubmatch(msg); m != nil {
		msg, suggested = m[1], m[2]
	}
	msg = visible.Line(msg)
	if u, ok := errors.AsType[*instructions.UnknownInstructionError](err); ok {
		if near := nearest(u.Instruction, slices.Sorted(maps.Keys(command.Commands))); near != "" {
			return hint.With(errors.New(msg), "did you mean "+strings.ToUpper(near)+"?")
		}
		return hint.With(errors.New(msg), `a line that continues the previous one needs a \ at that one's end`)
	}
	if strings.Contains(msg, "unterminated heredoc") {
		return hint.With(errors.New("unterminated heredoc"), "end it with a line that contains only its name")
	}
	if suggested == "" {
		return errors.New(msg)
	}
	if flag, ok := strings.CutPrefix(msg, "unknown flag: --"); ok {
		// The parser's own suggestion depends on the order of a map.
		if suggested = nearest(flag, flagNames()); suggested == "" {
			return errors.New(msg)
		}
		suggested = "--" + suggested
	}
	return hint.With(errors.New(msg), "did you mean "+visible.Line(suggested)+"?")
}

// flagNames are the flags of all instructions.
func flagNames() []string {
	return []string{
		"checksum", "chmod", "chown", "exclude", "from", "interval", "keep-git-dir", "link", "mount", "network", "parents",
		"platform", "retries", "security", "start-interval", "start-period", "timeout", "unpack",
	}
}

// nearest is the word of words that is at most two typing errors away from
// typed, "" without one. Swapping two neighbours is one error.
func nearest(typed string, words []string) string {
	best, found := 3, ""
	for _, w := range words {
		if d := typos([]rune(strings.ToLower(visible.Bounded(typed, 40))), []rune(w)); d < best {
			best, found = d, w
		}
	}
	return found
}

// typos is the optimal string alignment distance of a and b.
func typos(a, b []rune) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
