// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"strconv"
	"strings"
	"text/template/parse"
)

// fieldFunction is the function that a field becomes a call of.
const fieldFunction = "field"

// walk calls do for each node of a list, and of the lists in it.
func walk(list *parse.ListNode, do func(parse.Node)) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		do(n)
		switch n := n.(type) {
		case *parse.IfNode:
			walkBranch(&n.BranchNode, do)
		case *parse.RangeNode:
			walkBranch(&n.BranchNode, do)
		case *parse.WithNode:
			walkBranch(&n.BranchNode, do)
		}
	}
}

func walkBranch(b *parse.BranchNode, do func(parse.Node)) {
	walk(b.List, do)
	walk(b.ElseList, do)
}

// rewriteList makes each field of a template a call of fieldFunction.
func rewriteList(list *parse.ListNode) {
	walk(list, func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ActionNode:
			rewritePipe(n.Pipe)
		case *parse.IfNode:
			rewritePipe(n.Pipe)
		case *parse.RangeNode:
			rewritePipe(n.Pipe)
		case *parse.WithNode:
			rewritePipe(n.Pipe)
		case *parse.TemplateNode:
			rewritePipe(n.Pipe)
		}
	})
}

func rewritePipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		for i, arg := range c.Args {
			if i > 0 {
				c.Args[i] = rewriteArg(arg)
			}
		}
		if call := fieldCall(c.Args[0]); call != nil {
			c.Args = append(call, c.Args[1:]...)
		} else {
			c.Args[0] = rewriteArg(c.Args[0])
		}
	}
}

// rewriteArg returns what an argument becomes: a call in parentheses.
func rewriteArg(n parse.Node) parse.Node {
	if p, ok := n.(*parse.PipeNode); ok {
		rewritePipe(p)
		return p
	}
	call := fieldCall(n)
	if call == nil {
		return n
	}
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Position(), Args: call}
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Position(), Cmds: []*parse.CommandNode{command}}
}

// fieldCall returns the call that looks up a field, nil if n is none.
func fieldCall(n parse.Node) []parse.Node {
	switch n := n.(type) {
	case *parse.FieldNode:
		return callOf(&parse.DotNode{NodeType: parse.NodeDot, Pos: n.Pos}, n.Ident)
	case *parse.VariableNode:
		if len(n.Ident) < 2 {
			return nil
		}
		variable := &parse.VariableNode{NodeType: parse.NodeVariable, Pos: n.Pos, Ident: n.Ident[:1]}
		return callOf(variable, n.Ident[1:])
	case *parse.ChainNode:
		return callOf(rewriteArg(n.Node), n.Field)
	}
	return nil
}

func callOf(base parse.Node, names []string) []parse.Node {
	path := strings.Join(names, ".") // a name has no dot
	return []parse.Node{
		parse.NewIdentifier(fieldFunction).SetPos(base.Position()),
		base,
		&parse.StringNode{NodeType: parse.NodeString, Pos: base.Position(), Quoted: strconv.Quote(path), Text: path},
	}
}
