// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/policy"
)

const root = "../.."

const header = "Copyright the cpc authors.\n%SPDX-License-Identifier: Apache-2.0\n"

// file is one Go source file of the module.
type file struct {
	path string // relative to the module's root, with slashes
	src  []byte
	ast  *ast.File
}

func (f file) isTest() bool      { return strings.HasSuffix(f.path, "_test.go") }
func (f file) dir() string       { return path.Dir(f.path) }
func (f file) isGenerated() bool { return ast.IsGenerated(f.ast) }

// sources parses every Go file of the module, in order of path.
func sources(t *testing.T) []file {
	t.Helper()
	var files []file
	for _, p := range tree(t, ".go") {
		src, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{path: p, src: src, ast: parsed})
	}
	if len(files) < 3 {
		t.Fatalf("only %d Go files below %s: the test looks in the wrong place", len(files), root)
	}
	return files
}

// tree lists the module's files whose names end in one of the suffixes.
func tree(t *testing.T, suffixes ...string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") && name != ".." && name != "." && name != ".ci"
			if hidden || name == "testdata" || name == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) }) {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			paths = append(paths, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// part returns the key of the import table that a folder belongs to.
func part(dir string) string {
	elements := strings.Split(dir, "/")
	if elements[0] == "cmd" && len(elements) > 1 {
		return "cmd/" + elements[1]
	}
	return elements[0]
}

// TestPure: what only plans does not reach for files, the network or the kernel.
func TestPure(t *testing.T) {
	pure, seen := policy.Pure(), map[string]bool{}
	for _, f := range sources(t) {
		seen[f.dir()] = true
		if f.isTest() {
			continue
		}
		for _, spec := range f.ast.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			for _, not := range pure[f.dir()] {
				if imported == not || strings.HasPrefix(imported, not+"/") {
					t.Errorf("%s imports %s, but %s is pure", f.path, imported, f.dir())
				}
			}
		}
	}
	for dir := range pure {
		if !seen[dir] {
			t.Errorf("there is no package %s", dir)
		}
	}
}

func TestImportTable(t *testing.T) {
	table := policy.Imports()
	used := map[string]bool{}
	for _, f := range sources(t) {
		from := part(f.dir())
		allowed, known := table[from]
		if !known {
			t.Errorf("%s: folder %s is not in the import table", f.path, from)
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rel, ours := strings.CutPrefix(imported, policy.Module+"/")
			if !ours {
				continue
			}
			to := part(rel)
			used[from+" "+to] = true
			if to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s: %s may not import %s (allowed: %s)", f.path, from, rel, strings.Join(allowed, ", "))
			}
		}
	}
	for from, allowed := range table {
		for _, to := range allowed {
			if !used[from+" "+to] {
				t.Errorf("the import table lets %s import %s, which nothing does: drop it", from, to)
			}
		}
	}
}

func TestLinkedPackages(t *testing.T) {
	for program, forbidden := range policy.Forbidden() {
		t.Run(path.Base(program), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "seccomp", "./"+program)
			cmd.Dir = root
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list %s: %v\n%s", program, err, stderr.Bytes())
			}
			for linked := range strings.FieldsSeq(string(out)) {
				for _, prefix := range forbidden {
					if linked == prefix || strings.HasPrefix(linked, prefix+"/") {
						t.Errorf("%s links %s; see: go mod why -m, go list -deps", program, linked)
					}
				}
			}
		})
	}
}

func TestLicenceHeaders(t *testing.T) {
	for _, f := range sources(t) {
		if want := "// " + strings.ReplaceAll(header, "%", "// "); !strings.HasPrefix(string(f.src), want) {
			t.Errorf("%s: does not start with the licence header", f.path)
		}
	}
	want := "# " + strings.ReplaceAll(header, "%", "# ")
	for _, p := range tree(t, ".sh", ".yml", "Makefile", "Dockerfile.sandbox") {
		src, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		text := string(src)
		if strings.HasPrefix(text, "#!") {
			_, text, _ = strings.Cut(text, "\n")
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: does not start with the licence header", p)
		}
	}
}

// A merge that was not finished reads like text in everything but Go.
func TestConflictMarkers(t *testing.T) {
	for _, p := range tree(t, ".md", ".go", ".sh", ".yml", ".toml", "Makefile", "Dockerfile.sandbox", ".service", ".timer") {
		src, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(src), "\n") {
			if strings.HasPrefix(line, "<<<<<<< ") || strings.HasPrefix(line, ">>>>>>> ") {
				t.Errorf("%s:%d: a conflict marker: %s", p, n+1, line)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if f.isTest() {
			continue
		}
		doc := f.ast.Doc.Text()
		documented[f.dir()] = documented[f.dir()] || doc != ""
		start := "Package " + f.ast.Name.Name
		if f.ast.Name.Name == "main" {
			start = "Command " + path.Base(f.dir())
		}
		if doc != "" && !strings.HasPrefix(doc, start) {
			t.Errorf("%s: the package comment does not start with %q", f.path, start)
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: the package has no doc comment", dir)
		}
	}
}

func TestNamesAndInit(t *testing.T) {
	vague := []string{"util", "utils", "common", "types", "manager", "helper", "helpers", "misc"}
	for _, f := range sources(t) {
		if slices.Contains(vague, f.ast.Name.Name) {
			t.Errorf("%s: the package name %s says nothing", f.path, f.ast.Name.Name)
		}
		if strings.HasSuffix(strings.TrimSuffix(strings.TrimSuffix(f.path, ".go"), "_test"), "_linux") {
			t.Errorf("%s: everything is Linux only; drop the suffix", f.path)
		}
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: has an init function", f.path)
			}
		}
	}
}

func TestFileLength(t *testing.T) {
	for _, f := range sources(t) {
		if f.isTest() || f.isGenerated() {
			continue
		}
		switch lines := bytes.Count(f.src, []byte("\n")); {
		case lines > policy.MaxFile:
			t.Errorf("%s: %d lines, more than %d: split it", f.path, lines, policy.MaxFile)
		case lines > policy.LongFile:
			t.Logf("%s: %d lines; files should have around 300", f.path, lines)
		}
	}
}

func TestEveryPackageIsTested(t *testing.T) {
	tested := map[string]bool{}
	for _, f := range sources(t) {
		tested[f.dir()] = tested[f.dir()] || f.isTest()
	}
	untested := policy.Untested()
	for dir, ok := range tested {
		if _, listed := untested[dir]; !ok && !listed {
			t.Errorf("%s: has no test file and is not listed in policy.Untested", dir)
		}
	}
	for dir := range untested {
		if ok, exists := tested[dir]; ok || !exists {
			t.Errorf("policy.Untested: %s has tests now, or is gone: drop the entry", dir)
		}
	}
}

// TestArchitectureNamesAll: the page that shows the way through the tree names
// every folder that holds a package.
func TestArchitectureNamesAll(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range sources(t) {
		top := part(f.dir())
		if seen[f.dir()] || top == "test" || strings.HasPrefix(top, "cmd/") {
			continue
		}
		seen[f.dir()] = true
		if !strings.Contains(string(page), path.Base(f.dir())+"/") {
			t.Errorf("ARCHITECTURE.md does not name %s", f.dir())
		}
	}
}
