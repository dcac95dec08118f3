// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// What the programs say goes to the terminal by internal/visible: with stderr() and
// stdout() in cmd/cpc, or the writers that cobra has. os.Stdout and os.Stderr are
// for what programs write. Elsewhere only fixed words go there as they are.
func TestWordsGoThroughVisible(t *testing.T) {
	for _, f := range sources(t) {
		if f.isTest() || strings.HasPrefix(f.path, "test/") || strings.Contains(f.path, "/testdata/") {
			continue
		}
		strict := strings.HasPrefix(f.path, "cmd/cpc/")
		for _, name := range printedRaw(f.ast, strict) {
			t.Errorf("%s: %s to os.Stdout or os.Stderr: use stdout() or stderr(), or visible's functions for each text", f.path, name)
		}
	}
}

// The rule finds what it is for, and no more.
func TestPrintedRaw(t *testing.T) {
	for text, found := range map[string][2]bool{ // in cmd/cpc, elsewhere
		`fmt.Fprintln(os.Stderr, err)`:                            {true, true},
		`fmt.Fprintf(os.Stdout, "%s: %v", visible.Line(a), b)`:    {true, true},
		`fmt.Fprintf(os.Stderr, "%s", visible.Error(err))`:        {true, false},
		`fmt.Fprintf(os.Stderr, "usage\n")`:                       {true, false},
		`fmt.Fprintln(stderr(), err)`:                             {false, false},
		`fmt.Fprintln(visible.Writer(os.Stdout), table)`:          {false, false},
		`json.NewEncoder(os.Stdout)`:                              {true, true},
		`json.NewEncoder(visible.JSONWriter(os.Stdout))`:          {false, false},
		`io.WriteString(os.Stderr, text)`:                         {true, true},
		`io.WriteString(os.Stderr, "\r\n")`:                       {false, false},
		`tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)`:         {true, true},
		`tabwriter.NewWriter(visible.Writer(w), 0, 0, 3, ' ', 0)`: {false, false},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+text+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, strict := range []bool{true, false} {
			if got := len(printedRaw(f, strict)) > 0; got != found[i] {
				t.Errorf("%s, strict %v: found %v", text, strict, got)
			}
		}
	}
}

// printedRaw returns the calls that write to a standard stream what others could
// have chosen. Strict is without an exception for texts that were made visible.
func printedRaw(f *ast.File, strict bool) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 || !isStandard(call.Args[0]) {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch name := selector(fun); {
		case strings.HasPrefix(name, "fmt.Fprint"):
			if strict || !allVisible(call.Args[1:]) {
				found = append(found, name)
			}
		case name == "io.WriteString" && !allVisible(call.Args[1:]), name == "json.NewEncoder", name == "tabwriter.NewWriter":
			found = append(found, name)
		}
		return true
	})
	return found
}

// isStandard reports whether an expression is os.Stdout or os.Stderr.
func isStandard(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && (selector(s) == "os.Stdout" || selector(s) == "os.Stderr")
}

func selector(s *ast.SelectorExpr) string {
	if pkg, ok := s.X.(*ast.Ident); ok {
		return pkg.Name + "." + s.Sel.Name
	}
	return s.Sel.Name
}

// allVisible reports whether texts are fixed, or come from package visible or
// from what is the program's own.
func allVisible(args []ast.Expr) bool {
	for _, a := range args {
		switch a := a.(type) {
		case *ast.BasicLit:
			continue
		case *ast.CallExpr:
			if fun, ok := a.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(selector(fun), "visible.") {
				continue
			}
		}
		return false
	}
	return true
}
