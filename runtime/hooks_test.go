// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// A hook that fails is an error, after which the container is destroyed, and its
// poststop hooks run (runtime-spec 1.3, lifecycle 3 to 5, 7, 9, 12 and 13).
func TestFailedHookDestroys(t *testing.T) {
	inSettings(t, func(b *bench) {
		probe := filepath.Join(os.Getenv(envTools), "probe")
		fails := []specs.Hook{{Path: probe, Args: []string{"probe", "exit", "3"}}}
		for name, hooks := range map[string]specs.Hooks{
			"prestart":        {Prestart: fails},
			"createRuntime":   {CreateRuntime: fails},
			"createContainer": {CreateContainer: fails},
			"startContainer":  {StartContainer: []specs.Hook{{Path: "/bin/probe", Args: []string{"probe", "exit", "3"}}}},
			"poststart":       {Poststart: fails},
		} {
			b.t.Run(name, func(t *testing.T) {
				said := filepath.Join(t.TempDir(), "poststop")
				spec := b.spec("probe", "sleep")
				hooks.Poststop = []specs.Hook{{Path: probe, Args: []string{"probe", "save", said}}}
				spec.Hooks = &hooks
				b.write(spec)
				verb := "create"
				if name == "startContainer" {
					verb = "run" // of start, who reaps init may come first
				}
				r := b.quiet(verb, "c1")
				if r.code == 0 {
					r = b.quiet("start", "c1")
				}
				if r.code != 1 || !strings.Contains(r.stderr, "hook") && !strings.Contains(r.stderr, name) {
					t.Errorf("%+v", r)
				}
				if s := b.cli("state", "c1"); !strings.Contains(s.stderr, "does not exist") {
					t.Errorf("after it: %+v", s)
				}
				if _, err := os.Stat(said + ".json"); err != nil {
					t.Errorf("poststop: %v", err)
				}
				b.must("delete", "--force", "c1")
			})
		}
	})
}

// delete --force ends who makes or starts a container and waits for a hook, and the
// hook, a child of which has another session.
func TestDeleteEndsMaking(t *testing.T) {
	inSettings(t, func(b *bench) {
		probe := filepath.Join(os.Getenv(envTools), "probe")
		dir := filepath.Join(b.dir, "hook")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o777)); err != nil { //nolint:gosec // for the container's root
			b.t.Fatal(err)
		}
		waits := []specs.Hook{{Path: probe, Args: []string{"probe", "wait", dir}}}
		for name, hooks := range map[string]*specs.Hooks{
			"createRuntime":   {CreateRuntime: waits},
			"createContainer": {CreateContainer: waits},
			"poststart":       {Poststart: waits},
		} {
			b.t.Run(name, func(t *testing.T) {
				there := filepath.Join(dir, "waiting")
				_ = os.Remove(there)
				spec := b.spec("probe", "sleep")
				spec.Hooks = hooks
				b.write(spec)
				cmd := exec.Command(b.runtime, "--root", b.states, "run", "--detach", "c1")
				cmd.Dir = b.dir
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				testkit.Eventually(t, testkit.Patience, "the hook runs", func() bool { _, err := os.Stat(there); return err == nil })
				begin := time.Now()
				b.must("delete", "--force", "c1")
				if d := time.Since(begin); d >= lockPatience { // it waited for the lock
					t.Errorf("took %v", d)
				}
				if err := cmd.Wait(); err == nil {
					t.Error("the container was made")
				}
				if _, err := os.Stat(filepath.Join(b.states, "c1")); err == nil {
					t.Error("its directory is left")
				}
				testkit.Eventually(t, testkit.Patience, "no process is left", func() bool { return len(processesWith(dir)) == 0 })
			})
		}
	})
}

const lockPatience = 15 * time.Second // of cpc-runtime

// processesWith are those, zombies apart, with a text in their command line.
func processesWith(text string) (paths []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "wait\x00"+text) {
			paths = append(paths, path)
		}
	}
	return paths
}

// Names of 255 bytes, the longest of a file, are ids.
func TestLongID(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for _, n := range []int{251, 255} { // where the lock's name is no longer the id's, and the longest
			id := strings.Repeat("a", n)
			b.write(b.spec("probe", "sleep"))
			if r := b.quiet("run", "--detach", id); r.code != 0 {
				t.Fatalf("%d: %+v", n, r)
			}
			b.must("exec", id, "probe", "exit", "0")
			if r := b.must("list", "-q"); r.stdout != id+"\n" {
				t.Errorf("%d: list %q", n, r.stdout)
			}
			b.must("delete", "--force", id)
		}
		if left, err := os.ReadDir(b.states); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if r := b.cli("create", strings.Repeat("a", 256)); r.code != 1 || !strings.Contains(r.stderr, "at most 255") {
			t.Errorf("256: %+v", r)
		}
	})
}

// defaultSignals has the containers' processes end upon an interrupt, though whoever
// started the tests had them ignore it, as a shell's "&" and nohup do. A program that
// is executed inherits what is ignored, and no more than that.
func defaultSignals() {
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// What a supervisor asks of a container that waits to be started, it gets: init
// ends upon a request to end, as libcontainer's does, and does not mind the rest.
func TestKillCreated(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		ending := []string{"TERM", "INT", "HUP", "QUIT", "ABRT", "KILL"}
		if b.name != "root" || os.Getenv(envLongWay) != "" {
			ending = ending[:1] // each is a container, and it is the same code
		}
		for _, sig := range ending {
			b.write(b.spec("probe", "sleep"))
			if r := b.quiet("create", "c1"); r.code != 0 {
				t.Fatalf("create: %+v", r)
			}
			b.must("kill", "c1", sig)
			b.waitStatus("c1", "stopped")
			b.must("delete", "c1")
		}
		b.create("c1", b.spec("probe", "echo", "hello"))
		for _, sig := range []string{"USR1", "USR2", "WINCH", "CHLD", "CONT", "ALRM", "PIPE", "IO", "40"} {
			b.must("kill", "c1", sig)
		}
		if s := b.state("c1").Status; s != "created" {
			t.Errorf("after signals that mean nothing: %s", s)
		}
		b.must("start", "c1")
		b.waitStatus("c1", "stopped")
		if out := b.output("c1"); out != "hello\n" {
			t.Errorf("printed %q", out)
		}
	})
}
