// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script/*.txtar, each as every caller. Besides
// testscript's own commands they have:
//
//	[!] cpc [<FILE] ARG...  run cpc as the caller, in the script's directory
//	status N                the last cpc's exit status was N
//	says TEXT               the last cpc's standard error has this text, literally
//	clean                   no sandbox, scratch space or unfinished work is there
//	damage FILE             turn over a bit in the middle of a file
//
// and the conditions [root], [mapped] and [single]. Sandboxes are the script's
// own: it has its state directory. The images are those of the caller, unless
// the script begins with `env CPC_DATA_DIR=$WORK/data`.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			each(t, func(t *testing.T, w *who) { runScript(t, w, file) })
		})
	}
}

func runScript(t *testing.T, w *who, file string) {
	t.Helper()
	w.cpc(t) // the base image is there
	s := &script{t: t, w: w}
	dir, err := os.MkdirTemp(w.home, "script-") //nolint:usetesting // where the caller can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, w.uid, w.gid); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: []string{file}, WorkdirRoot: dir, Setup: s.setUp, Condition: s.condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cpc": s.cpc, "status": s.status, "says": s.says, "clean": s.clean, "damage": s.damage,
		},
		RequireUniqueNames: true,
	})
}

// script is one run of a script.
type script struct {
	t      *testing.T
	w      *who
	last   result
	passed []string // the names of variables that cpc is given
}

// setUp gives the files to the caller and makes the environment its own.
func (s *script) setUp(env *testscript.Env) error {
	if err := filepath.WalkDir(env.WorkDir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, s.w.uid, s.w.gid)
	}); err != nil {
		return err
	}
	for _, v := range append(s.w.env(), "CPC_STATE_DIR="+env.WorkDir+"/state", "BASE="+base) {
		name, value, _ := strings.Cut(v, "=")
		env.Setenv(name, value)
		s.passed = append(s.passed, name)
	}
	// These must not come from the machine that the test runs on.
	s.passed = append(s.passed, "XDG_DATA_HOME", "TMPDIR", "CPC_RUNTIME", "CPC_LIMITS", "GREETING")
	slices.Sort(s.passed)
	s.passed = slices.Compact(s.passed)
	env.Defer(func() { s.removeSandboxes(env) })
	return nil
}

// removeSandboxes ends what a failed script has left running.
func (s *script) removeSandboxes(env *testscript.Env) {
	cmd := s.w.command(s.w.bin, "ps", "-aq")
	cmd.Env = append(cmd.Env, "CPC_STATE_DIR="+env.WorkDir+"/state", "CPC_DATA_DIR="+env.Getenv("CPC_DATA_DIR"))
	rm := s.w.command(s.w.bin, append([]string{"rm", "-f"}, lines(finish(s.t, cmd).stdout)...)...)
	rm.Env = cmd.Env
	if len(rm.Args) > 3 {
		finish(s.t, rm)
	}
}

func (s *script) condition(name string) (bool, error) {
	if slices.Contains([]string{root, mapped, single}, name) {
		return s.w.mode == name, nil
	}
	return false, fmt.Errorf("unknown condition %s", name)
}

func (s *script) cpc(ts *testscript.TestScript, neg bool, args []string) {
	stdin := ""
	if file, ok := strings.CutPrefix(args[0], "<"); ok {
		stdin, args = ts.ReadFile(file), args[1:]
	}
	cmd := s.w.command(s.w.bin, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = ts.MkAbs("."), nil, strings.NewReader(stdin)
	for _, name := range s.passed {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	s.last = finish(s.t, cmd)
	_, _ = ts.Stdout().Write([]byte(s.last.stdout))
	_, _ = ts.Stderr().Write([]byte(s.last.stderr))
	if strings.Contains(s.last.stderr, "goroutine ") {
		ts.Fatalf("cpc crashed")
	}
	switch {
	case neg && s.last.code == 0:
		ts.Fatalf("cpc succeeded")
	case !neg && s.last.code != 0:
		ts.Fatalf("cpc: exit status %d", s.last.code)
	}
}

func (s *script) status(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 || args[0] != strconv.Itoa(s.last.code) {
		ts.Fatalf("exit status %d", s.last.code)
	}
}

func (s *script) says(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] says TEXT")
	}
	if strings.Contains(s.last.stderr, args[0]) == neg {
		ts.Fatalf("unexpected text on standard error:\n%s", s.last.stderr)
	}
}

// clean looks at the directories that the last cpc has used.
func (s *script) clean(ts *testscript.TestScript, _ bool, _ []string) {
	data, state := ts.Getenv("CPC_DATA_DIR"), ts.Getenv("CPC_STATE_DIR")
	for _, pattern := range []string{state + "/sandboxes/*", data + "/sandboxes/*", data + "/scratch/*", data + "/tmp/*"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			ts.Fatalf("left behind: %s", strings.Join(found, " "))
		}
	}
}

func (s *script) damage(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(file, data, 0o600))
}
