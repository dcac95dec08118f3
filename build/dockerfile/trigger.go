// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// withTriggers is the instructions of stage i, those first that its base left
// for it with ONBUILD. They are an image's and so hostile: each is one
// instruction, and none may leave triggers or start a stage of its own.
func (p *Plan) withTriggers(i int, triggers []string) ([]instruction, error) {
	stage := &p.File.Stages[i]
	if len(triggers) > maxInstructions {
		return nil, fmt.Errorf("the base has more than %d ONBUILD triggers", maxInstructions)
	}
	var out []instruction
	for _, text := range triggers {
		cmd, err := parseTrigger(text, stage.Location)
		if err == nil {
			err = cmd.check(func(string) {})
		}
		if err == nil {
			_, err = cmd.sources(p.finder(i))
		}
		if err != nil {
			return nil, fmt.Errorf("ONBUILD trigger %q of the base: %w", visible.Bounded(text, 80), err)
		}
		out = append(out, cmd)
	}
	return slices.Concat(out, stage.instructions), nil
}

// parseTrigger reads one trigger; errors in it are shown at loc, the FROM.
func parseTrigger(text string, loc []parser.Range) (instruction, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("larger than %d bytes", MaxSize)
	}
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, cleanParserError(err)
	}
	if len(ast.AST.Children) != 1 {
		return nil, errors.New("it should be a single instruction")
	}
	node := ast.AST.Children[0]
	if len(loc) > 0 {
		node.StartLine, node.EndLine = loc[0].Start.Line, loc[len(loc)-1].End.Line
	}
	typed, err := instructions.ParseInstructionWithLinter(node, silentLint())
	if err != nil {
		return nil, cleanParserError(err)
	}
	cmd, ok := typed.(instructions.Command)
	if !ok {
		return nil, errors.New("FROM is not allowed there")
	}
	if k := kindOf(cmd); k.read != nil && !k.trigger {
		return nil, fmt.Errorf("%s is not allowed there", strings.ToUpper(cmd.Name()))
	}
	return readInstruction(cmd)
}
