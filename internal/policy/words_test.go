// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"go/ast"
	"strings"
	"testing"
)

// What cpc says goes to the terminal by internal/visible: with stderr() and
// stdout() in cmd/cpc, or the writers that cobra has. os.Stdout and os.Stderr are
// for what programs write.
func TestWordsGoThroughVisible(t *testing.T) {
	for _, f := range sources(t) {
		if f.isTest() || !strings.HasPrefix(f.path, "cmd/cpc/") {
			continue
		}
		for _, name := range printedRaw(f.ast) {
			t.Errorf("%s: fmt.%s to os.Stdout or os.Stderr: use stdout() or stderr()", f.path, name)
		}
	}
}

// printedRaw returns the calls of fmt that print to a standard stream.
func printedRaw(f *ast.File) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasPrefix(fun.Sel.Name, "Fprint") {
			return true
		}
		if to, ok := call.Args[0].(*ast.SelectorExpr); ok && (to.Sel.Name == "Stdout" || to.Sel.Name == "Stderr") {
			if pkg, ok := to.X.(*ast.Ident); ok && pkg.Name == "os" {
				found = append(found, fun.Sel.Name)
			}
		}
		return true
	})
	return found
}
