// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/policy"
)

// errors.Join(a(), b()) is no "a, then b".
func TestJoinIsNoSequence(t *testing.T) {
	for _, f := range sources(t) {
		if f.isTest() || f.isGenerated() {
			continue
		}
		for _, name := range joined(f.ast) {
			t.Errorf("%s: %s in errors.Join runs although what stands before it has failed: write the steps one after the other, "+
				"or the call as a statement where it is meant to run in any case", f.path, name)
		}
	}
}

// joined returns the calls in errors.Join, after the first argument, that are
// neither cleanups nor checks.
func joined(f *ast.File) []string {
	var bad []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isJoin(call) {
			return true
		}
		for _, arg := range call.Args[min(1, len(call.Args)):] {
			c, ok := ast.Unparen(arg).(*ast.CallExpr)
			if !ok || isJoin(c) {
				continue
			}
			name := called(c)
			harmless := name == "Err" || name == "New" || name == "Errorf"
			if !harmless && !slices.ContainsFunc(policy.Cleanups, func(s string) bool { return strings.HasPrefix(strings.ToLower(name), s) }) {
				bad = append(bad, name)
			}
		}
		return true
	})
	return bad
}

func isJoin(c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Join" {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "errors"
}

// called is the name of a call's function or method.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return "a function"
}

// What the commands write is named by people: atomicfile.Named knows what else
// than a file that can be.
func TestNamedFilesHaveOneWriter(t *testing.T) {
	for _, f := range sources(t) {
		if f.isTest() || f.isGenerated() || !strings.HasPrefix(f.path, "cmd/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "os" && slices.Contains([]string{"WriteFile", "Create", "CreateTemp", "Rename"}, s.Sel.Name) {
				t.Errorf("%s: os.%s: use atomicfile.Named", f.path, s.Sel.Name)
			}
			return true
		})
	}
}

// What tests of several packages do has one place: waiting for a condition and counting
// descriptors internal/testkit, renewing golden files internal/golden.
func TestHelpersOfTestsHaveOnePlace(t *testing.T) {
	for _, f := range sources(t) {
		if !f.isTest() || f.dir() == "internal/policy" {
			continue
		}
		for _, of := range handMade(f.ast, string(f.src)) {
			t.Errorf("%s: %s", f.path, of)
		}
	}
}

// handMade are the siblings of the test helpers that a file has.
func handMade(f *ast.File, src string) (found []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok && loop.Post != nil && strings.Contains(src[loop.Post.Pos()-f.FileStart:loop.Post.End()-f.FileStart], "time.Sleep") {
			found = append(found, "a loop that waits: use testkit.Eventually or testkit.Within")
		}
		return true
	})
	for text, instead := range map[string]string{
		`ReadDir("/proc/self/fd")`: "testkit.Descriptors or testkit.KeepsNone",
		`flag.Bool("update"`:       "internal/golden",
	} {
		if strings.Contains(src, text) {
			found = append(found, text+": use "+instead)
		}
	}
	return found
}

func TestHandMade(t *testing.T) {
	for src, want := range map[string]int{
		`func f() { for end := time.Now(); ; time.Sleep(1) {} }`:  1,
		`func f() { for range 3 { time.Sleep(1) } }`:              0,
		`func f() { for i := 0; i < 3; i++ { time.Sleep(1) } }`:   0,
		`var a, _ = os.ReadDir("/proc/self/fd")`:                  1,
		`var update = flag.Bool("update", false, "golden files")`: 1,
	} {
		src = "package x\n" + src
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := handMade(f, src); len(got) != want {
			t.Errorf("%s: %q", src, got)
		}
	}
}

func TestJoined(t *testing.T) {
	for src, want := range map[string][]string{
		`errors.Join(f.Sync(), os.Rename(a, b))`:                      {"Rename"},
		`errors.Join(err, os.Chmod(a, 1), (os.Chown)(a, 1, 1))`:       {"Chmod", "a function"},
		`errors.Join(write(f), f.Chmod(1), f.Close())`:                {"Chmod"},
		`errors.Join(err, func() error { return os.Mkdir(a, 1) }())`:  {"a function"},
		`errors.Join(errors.Join(a, os.Mkdir(b, 1)), errors.Join(c))`: {"Mkdir"},
		`errors.Join(os.Rename(a, b), f.Close())`:                     nil,
		`errors.Join(err, os.Remove(a), w.close(), ctx.Err())`:        nil,
		`errors.Join(err, other, errs[0])`:                            nil,
		`errors.Join()`:                                               nil,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nvar _ = "+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := joined(f); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}
