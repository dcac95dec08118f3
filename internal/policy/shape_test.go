// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/policy"
)

// TestShape counts what makes a room hard to find one's way in, and fails when
// something has grown beyond its bound. With -v it prints the figures.
func TestShape(t *testing.T) {
	s := shape{methods: map[string]int{}, fields: map[string]int{}, writers: map[string]bool{}}
	for _, f := range sources(t) {
		s.add(f)
	}
	bounds := policy.Shape()
	check := func(what string, got, bound int, where string) {
		t.Logf("%-45s %6d (at most %d) %s", what, got, bound, where)
		if got > bound {
			t.Errorf("%s: %d, at most %d: %s", what, got, bound, where)
		}
	}
	name, n := largest(s.methods)
	check("methods of the largest type", n, bounds.Methods, name)
	name, n = largest(s.rootfs())
	check("methods of the largest type in rootfs", n, bounds.RootfsMethods, name)
	name, n = largest(s.fields)
	check("fields of the largest struct", n, bounds.Fields, name)
	check("type switches on build's instructions", s.instructionSwitches, bounds.InstructionSwitches, "")
	writers := slices.Sorted(maps.Keys(s.writers))
	check("files outside rootfs/store that write the store", len(writers), bounds.StoreWriters, strings.Join(writers, " "))
	t.Logf("%-45s %6d", "lines of Go, without tests", s.lines)
	t.Logf("%-45s %6d", "lines of tests", s.testLines)
	t.Logf("%-45s %6d (at least %d)", "lines of unit tests of sandbox/...", s.sandboxTests, bounds.SandboxTests)
	if s.sandboxTests < bounds.SandboxTests {
		t.Errorf("lines of unit tests of sandbox/...: %d, at least %d", s.sandboxTests, bounds.SandboxTests)
	}
}

// shape is what was counted. Types are named by folder.
type shape struct {
	methods, fields     map[string]int
	writers             map[string]bool
	instructionSwitches int
	lines, testLines    int
	sandboxTests        int
}

func (s *shape) add(f file) {
	lines := bytes.Count(f.src, []byte("\n"))
	if f.isTest() {
		s.testLines += lines
		if part(f.dir()) == "sandbox" {
			s.sandboxTests += lines
		}
		return
	}
	s.lines += lines
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv != nil {
				s.methods[f.dir()+"."+receiver(n.Recv.List[0].Type)]++
			}
		case *ast.TypeSpec:
			if st, ok := n.Type.(*ast.StructType); ok && !policy.IsFormPackage(f.dir()) && !policy.IsFormStruct(n.Name.Name) {
				s.fields[f.dir()+"."+n.Name.Name] = st.Fields.NumFields()
			}
		case *ast.TypeSwitchStmt:
			if part(f.dir()) == "build" && onInstructions(n) {
				s.instructionSwitches++
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && part(f.dir()) == "rootfs" && f.dir() != "rootfs/store" {
				if call := x.Name + "." + n.Sel.Name; call == "os.Rename" || x.Name == "filelock" {
					s.writers[f.path] = true
				}
			}
		}
		return true
	})
}

// rootfs are the methods of the types in rootfs and below it.
func (s *shape) rootfs() map[string]int {
	out := map[string]int{}
	for name, n := range s.methods {
		if strings.HasPrefix(name, "rootfs.") || strings.HasPrefix(name, "rootfs/") {
			out[name] = n
		}
	}
	return out
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return fmt.Sprintf("%T", e)
}

// onInstructions: whether a case of the switch is an instruction's type.
func onInstructions(n *ast.TypeSwitchStmt) bool {
	for _, c := range n.Body.List {
		for _, e := range c.(*ast.CaseClause).List {
			if star, ok := e.(*ast.StarExpr); ok {
				e = star.X
			}
			switch e := e.(type) {
			case *ast.SelectorExpr:
				if x, ok := e.X.(*ast.Ident); ok && (x.Name == "instructions" || strings.HasSuffix(e.Sel.Name, "Command")) {
					return true
				}
			case *ast.Ident:
				if strings.HasSuffix(e.Name, "Command") {
					return true
				}
			}
		}
	}
	return false
}

func largest(counts map[string]int) (name string, n int) {
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if counts[k] > n {
			name, n = k, counts[k]
		}
	}
	return name, n
}
