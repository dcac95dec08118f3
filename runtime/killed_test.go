// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/seccomp"
)

// leftovers looks for whatever a container of this bench may have left.
func (b *bench) leftovers() []string {
	b.t.Helper()
	var left []string
	entries, err := os.ReadDir(b.states)
	if err != nil && !os.IsNotExist(err) {
		b.t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != "@filters" { // of no container
			left = append(left, "state "+e.Name())
		}
	}
	if b.name == "root" {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/cpc/" + filepath.Base(b.dir) + "-*")
		left = append(left, groups...)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		data, _ := os.ReadFile(path)
		root, _ := os.Readlink(filepath.Join(filepath.Dir(path), "root"))
		if bytes.Contains(data, []byte(b.states)) || bytes.Contains(data, []byte(b.initName("c1"))) || strings.HasPrefix(root, b.dir) {
			left = append(left, path+" "+string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(b.dir)) {
		left = append(left, "mounts")
	}
	return left
}

// initName is in the command line of a container's init until it starts.
func (b *bench) initName(id string) string {
	sum := sha256.Sum256([]byte(filepath.Join(b.states, id)))
	return hex.EncodeToString(sum[:16])
}

// The init of a container that was created says of it what a clean-up needs, and
// no path of the host.
func TestCommandLineOfCreated(t *testing.T) {
	inSettings(t, func(b *bench) {
		b.create("c1", b.spec("probe", "sleep"), "--pid-file", "pid")
		pid, err := os.ReadFile(filepath.Join(b.dir, "pid"))
		if err != nil {
			b.t.Fatal(err)
		}
		line, err := os.ReadFile("/proc/" + string(pid) + "/cmdline")
		if err != nil || !bytes.Contains(line, []byte(b.initName("c1"))) || bytes.ContainsRune(line, '/') {
			b.t.Errorf("command line %q, %v", line, err)
		}
	})
}

// A create that is killed at any moment leaves nothing that delete --force
// would not remove.
func TestKilledCreate(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		spec := b.spec("probe", "sleep")
		spec.Linux.Seccomp = seccomp.Default(seccomp.Options{})
		b.write(spec)
		begin := time.Now()
		if r := b.quiet("create", "c1"); r.code != 0 {
			t.Fatalf("create: %+v", r)
		}
		whole := time.Since(begin)
		b.must("delete", "--force", "c1")
		halfMade := 0
		const moments = 30
		for i := range moments {
			cmd := exec.Command(b.runtime, "--root", b.states, "create", "c1")
			cmd.Dir = b.dir
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(whole * time.Duration(i) / (moments - 5))
			_ = cmd.Process.Kill() // it may have finished
			_ = cmd.Wait()
			if _, err := os.Stat(filepath.Join(b.states, "c1", "intent.json")); err == nil {
				if _, err := os.Stat(filepath.Join(b.states, "c1", "state.json")); err != nil {
					halfMade++
				}
			}
			b.must("delete", "--force", "c1")
			b.reap()
			if left := b.leftovers(); len(left) > 0 {
				t.Fatalf("killed after %d/%d of %v: left %q", i, moments-5, whole, left)
			}
		}
		t.Logf("%d of %d were killed half-way", halfMade, moments)
		if halfMade == 0 {
			t.Error("no create was killed half-way")
		}
	})
}

// reap waits a moment for processes whose parent was killed to be gone from
// /proc: they are other processes' to reap.
func (b *bench) reap() {
	testkit.Within(2*time.Second, func() bool { return len(b.leftovers()) == 0 })
}

// Any mixture of operations on one id at one time ends in a container that is
// whole or none.
func TestParallelOperations(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.write(b.spec("probe", "sleep"))
		var wg sync.WaitGroup
		for i := range 12 {
			args := [][]string{{"create", "c1"}, {"start", "c1"}, {"delete", "--force", "c1"}, {"state", "c1"}, {"kill", "c1", "KILL"}, {"list", "-q"}}[i%6]
			wg.Go(func() {
				if r := b.quiet(args...); strings.Contains(r.stderr, "panic") || r.code > 1 {
					t.Errorf("%v: %+v", args, r)
				}
			})
		}
		wg.Wait()
		b.must("delete", "--force", "c1")
		b.reap()
		if left := b.leftovers(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A container outlives whoever made it, and is still its id's.
func TestSurvivesParent(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.write(b.spec("probe", "sleep"))
		// The parent's whole process group is killed.
		cmd := exec.Command("sh", "-c", `"$@" </dev/null >/dev/null 2>&1; kill -9 0`, "sh", b.runtime, "--root", b.states, "run", "--detach", "c1")
		cmd.Dir = b.dir
		cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		_ = cmd.Run()
		b.waitStatus("c1", "running")
		if pid := b.state("c1").Pid; unix.Kill(pid, 0) != nil {
			t.Errorf("process %d is gone", pid)
		}
		b.must("exec", "c1", "probe", "exit", "0")
		b.must("delete", "--force", "c1")
	})
}
