// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestRunFromInside(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		r := b.run(b.spec("probe", "look"))
		if r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.stderr)
		}
		var v view
		decode(t, r.stdout, &v)
		if want := []string{"0", itoa(b.base), itoa(b.size)}; !slices.Equal(v.UIDMap, want) {
			t.Errorf("uid_map %v, want %v", v.UIDMap, want)
		}
		if v.Pid != 1 || v.Procs != 1 || v.Hostname != "sandbox" || v.Cwd != "/" {
			t.Errorf("pid %d of %d, host %s, cwd %s", v.Pid, v.Procs, v.Hostname, v.Cwd)
		}
		if !slices.Equal(v.Nets, []string{"/sys/class/net/lo"}) {
			t.Errorf("network interfaces %v, want lo only", v.Nets)
		}
		if v.RootWrite != "EROFS" {
			t.Errorf("write to /: %q, want EROFS", v.RootWrite)
		}
		if v.Status["NoNewPrivs"] != "1" || v.Status["CapEff"] != "00000000000000c1" || v.Status["CapBnd"] != v.Status["CapEff"] {
			t.Errorf("NoNewPrivs %s, CapEff %s, CapBnd %s", v.Status["NoNewPrivs"], v.Status["CapEff"], v.Status["CapBnd"])
		}
		for fd, target := range v.FDs {
			// The probe's own listing of /proc/self/fd is the one more.
			if fd > "2" && !strings.HasPrefix(target, "/proc/") || len(v.FDs) > 4 {
				t.Errorf("leaked descriptor %s: %s (of %v)", fd, target, v.FDs)
			}
		}
		if left, err := os.ReadDir(b.states); err != nil || len(left) != 0 {
			t.Errorf("left in the state directory: %v, %v", left, err)
		}
	})
}

func TestExitStatus(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for _, tt := range []struct {
			args []string
			want int
		}{
			{[]string{"probe", "exit", "0"}, 0},
			{[]string{"probe", "exit", "42"}, 42},
			{[]string{"probe", "exit", "255"}, 255},
		} {
			if r := b.run(b.spec(tt.args...)); r.code != tt.want {
				t.Errorf("%v: exit %d, want %d: %s", tt.args, r.code, tt.want, r.stderr)
			}
		}
	})
}

// Missing and non-executable commands are told apart by message at create, run
// and exec, by status at create and run, and leave nothing behind.
func TestCommandNotRunnable(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.file("bin/plain", "text", 0o644)
		b.sleeper("sleeper")
		for _, tt := range []struct {
			command string
			code    int
			message string
		}{
			{"nosuch", 127, `exec: "nosuch": executable file not found in $PATH`},
			{"", 127, `exec: "": executable file not found in $PATH`},
			{"/nosuch", 127, `exec: "/nosuch": stat /nosuch: no such file or directory`},
			{"/bin/probe/x", 127, `exec: "/bin/probe/x": stat /bin/probe/x: not a directory`},
			{"/bin/plain", 126, `exec: "/bin/plain": permission denied`},
			{"/bin", 126, `exec: "/bin": is a directory: permission denied`},
		} {
			log := filepath.Join(b.dir, "log")
			b.write(b.spec(tt.command))
			for _, verb := range []string{"create", "run"} {
				r := b.cli("--log", log, "--log-format", "json", verb, "c1")
				if r.code != tt.code || !strings.HasSuffix(r.stderr, tt.message+"\n") {
					t.Errorf("%s %s: exit %d, want %d; stderr %s", verb, tt.command, r.code, tt.code, r.stderr)
				}
				if !strings.HasPrefix(lastLine(r.stderr), "cpc-runtime: "+verb+" c1: ") {
					t.Errorf("%s: stderr %q", verb, r.stderr)
				}
			}
			if r := b.cli("exec", "sleeper", tt.command); r.code != tt.code || !strings.HasSuffix(r.stderr, tt.message+"\n") {
				t.Errorf("exec %s: exit %d, want %d; stderr %s", tt.command, r.code, tt.code, r.stderr)
			}
			checkLog(t, log, tt.message)
		}
		if r := b.must("list", "-q"); r.stdout != "sleeper\n" {
			t.Errorf("left behind: %q", r.stdout)
		}
	})
}

// lastLine is the error; libcontainer's warnings may precede it.
func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndex(text, "\n")+1:]
}

func checkLog(t *testing.T, path, message string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var entry struct{ Level, Msg, Time string }
		decode(t, line, &entry)
		_, err := time.Parse(time.RFC3339, entry.Time)
		if entry.Level == "error" && strings.HasSuffix(entry.Msg, message) && err == nil {
			return
		}
	}
	t.Errorf("log has no error that ends in %q: %s", message, data)
}

func TestLifecycle(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		spec := b.spec("probe", "sleep")
		spec.Annotations = map[string]string{"note": "x=y"}
		pidFile := filepath.Join(b.dir, "pid")
		b.create("c1", spec, "--pid-file", pidFile, "--bundle", b.dir)
		s := b.state("c1")
		if s.Status != "created" || s.ID != "c1" || s.Bundle != b.dir || s.Notes["note"] != "x=y" || s.Version != specs.Version {
			t.Errorf("state %+v", s)
		}
		if data, err := os.ReadFile(pidFile); err != nil || string(data) != strconv.Itoa(s.Pid) {
			t.Errorf("pid file %q, %v; want %d", data, err, s.Pid)
		}
		if r := b.cli("create", "c1"); r.code != 1 || !strings.Contains(r.stderr, "already exists") {
			t.Errorf("second create: %+v", r)
		}
		b.must("start", "c1")
		if r := b.cli("start", "c1"); r.code != 1 || !strings.Contains(r.stderr, "start c1: cannot start an already running container") {
			t.Errorf("second start: %+v", r)
		}
		if r := b.cli("delete", "c1"); r.code != 1 || !strings.Contains(r.stderr, "cannot delete container c1 that is not stopped: running") {
			t.Errorf("delete of a running container: %+v", r)
		}
		checkLimits(t, b)
		b.must("kill", "c1", "sigkill")
		b.waitStatus("c1", "stopped")
		if r := b.cli("kill", "c1", "9"); r.code != 1 || !strings.Contains(r.stderr, "not running") {
			t.Errorf("kill of a stopped container: %+v", r)
		}
		b.must("kill", "-a", "c1", "KILL")
		if r := b.cli("exec", "c1", "probe", "exit", "0"); r.code != 255 || !strings.Contains(r.stderr, "cannot exec in a stopped container") {
			t.Errorf("exec in a stopped container: %+v", r)
		}
		b.must("delete", "c1")
		for _, args := range [][]string{{"state", "c1"}, {"delete", "c1"}, {"start", "c1"}, {"kill", "c1"}} {
			if r := b.cli(args...); r.code != 1 || !strings.Contains(r.stderr, "does not exist") {
				t.Errorf("%v without a container: %+v", args, r)
			}
		}
		b.must("delete", "c1", "--force")
	})
}

// checkLimits reads the limits back where they could be set: as root.
func checkLimits(t *testing.T, b *bench) {
	t.Helper()
	if b.name != "root" {
		return
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Log("cgroup v2: read back by package cgroups' tests")
		return
	}
	name := fmt.Sprintf("%s-%d", filepath.Base(b.dir), b.cgroups)
	for file, want := range map[string]string{
		"memory/cpc/" + name + "/memory.limit_in_bytes": "67108864",
		"cpu/cpc/" + name + "/cpu.cfs_quota_us":         "50000",
		"pids/cpc/" + name + "/pids.max":                "40",
	} {
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %s, %v; want %s", file, got, err, want)
		}
	}
}

// Of concurrent operations on one id one wins and the others say why not.
func TestConcurrent(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.write(b.spec("probe", "sleep"))
		results := make([]result, 4)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() { results[i] = b.quiet("run", "--detach", "c1") })
		}
		wg.Wait()
		won := 0
		for _, r := range results {
			if r.code == 0 {
				won++
			} else if !strings.Contains(r.stderr, "already exists") {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
		}
		if won != 1 {
			t.Errorf("%d containers of one id", won)
		}
		for i := range results {
			wg.Go(func() { results[i] = b.cli("delete", "--force", "c1") })
		}
		wg.Wait()
		for _, r := range results {
			if r.code != 0 {
				t.Errorf("delete --force: %+v", r)
			}
		}
		if left, err := os.ReadDir(b.states); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

func TestDamagedState(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for _, damage := range []func([]byte) []byte{
			func(b []byte) []byte { return b[:len(b)/2] },
			func([]byte) []byte { return nil },
			func([]byte) []byte { return []byte("null") },
			func([]byte) []byte { return []byte("{}") },
			func(b []byte) []byte { // of another version, where a field is of another type
				return bytes.Replace(b, []byte(`"namespaces":[`), []byte(`"namespaces":"","x":[`), 1)
			},
		} {
			b.sleeper("c1")
			pid := b.state("c1").Pid
			path := filepath.Join(b.states, "c1", "state.json")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"state", "c1"}, {"start", "c1"}, {"kill", "c1"}, {"delete", "c1"}} {
				r := b.cli(args...)
				if r.code != 1 || !strings.Contains(r.stderr, "state.json: corrupt state") {
					t.Errorf("%v: %+v", args, r)
				}
			}
			if r := b.cli("list", "-q"); r.code != 0 || r.stdout != "" {
				t.Errorf("list: %+v", r)
			}
			b.must("delete", "--force", "c1")
			if _, err := os.Stat(filepath.Dir(path)); err == nil {
				t.Error("the state directory is still there")
			}
			if len(damage(data)) > 100 && !testkit.Ended(testkit.Patience, pid) {
				t.Errorf("process %d, named in the intact half, is still there", pid)
			}
			_ = unix.Kill(pid, unix.SIGKILL)
			b.removeCgroup(pid)
		}
	})
}

// removeCgroup does what the caller of delete --force must when the state was
// damaged.
func (b *bench) removeCgroup(pid int) {
	testkit.Ended(testkit.Patience, pid)
	testkit.Eventually(b.t, testkit.Patience, "no cgroup is left", func() bool {
		left, _ := filepath.Glob("/sys/fs/cgroup/*/cpc/" + filepath.Base(b.dir) + "-*")
		for _, dir := range left {
			_ = os.Remove(dir)
		}
		return len(left) == 0
	})
}

func TestRefusedBundles(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for name, tt := range map[string]struct {
			change func(*specs.Spec)
			want   string
		}{
			"major version": {func(s *specs.Spec) { s.Version = "2.0.0" }, `ociVersion "2.0.0": only 1.x.y`},
			"no version":    {func(s *specs.Spec) { s.Version = "" }, "ociVersion"},
			"no process":    {func(s *specs.Spec) { s.Process = nil }, "process property must not be empty"},
			"no command":    {func(s *specs.Spec) { s.Process.Args = nil }, "args must not be empty"},
			"relative cwd":  {func(s *specs.Spec) { s.Process.Cwd = "bin" }, "must be an absolute path"},
			"no root":       {func(s *specs.Spec) { s.Root = nil }, "root must be specified"},
			"missing root":  {func(s *specs.Spec) { s.Root.Path = "nosuch" }, "nosuch"},
			"no linux":      {func(s *specs.Spec) { s.Linux = nil }, "linux: missing"},
			"unknown limit": {func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, "RLIMIT_X"},
			"no socket":     {func(s *specs.Spec) { s.Process.Terminal = true }, "--console-socket"},
		} {
			spec := b.spec("probe", "exit", "0")
			tt.change(spec)
			b.write(spec)
			if r := b.cli("create", "c1"); r.code != 1 || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if err := os.WriteFile(filepath.Join(b.dir, "config.json"), []byte(`{"ociVersion":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := b.cli("create", "c1"); r.code != 1 || !strings.Contains(r.stderr, "parse config.json") {
			t.Errorf("truncated: %+v", r)
		}
		if left, err := os.ReadDir(b.states); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

func TestList(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		if r := b.cli("list"); r.code != 1 {
			t.Errorf("a missing --root: %+v", r)
		}
		b.sleeper("c1")
		var states []state
		decode(t, b.must("list", "-f", "json").stdout, &states)
		if len(states) != 1 || states[0].ID != "c1" || states[0].Status != "running" || states[0].Owner == "" {
			t.Errorf("list: %+v", states)
		}
		table := b.must("list").stdout
		if !strings.HasPrefix(table, "ID ") || !strings.Contains(table, "\nc1 ") {
			t.Errorf("table: %s", table)
		}
		if r := b.cli("list", "--format", "xml"); r.code != 1 {
			t.Errorf("format xml: %+v", r)
		}
	})
}

func TestFeatures(t *testing.T) {
	if os.Getenv(envSetting) != "" {
		t.Skip("the same in every setting")
	}
	b := newBench(t, settings()[0])
	var f struct {
		Max   string `json:"ociVersionMax"`
		Linux struct {
			Seccomp struct{ Enabled bool }
		}
	}
	decode(t, b.must("features").stdout, &f)
	if f.Max != specs.Version || !f.Linux.Seccomp.Enabled {
		t.Errorf("features: %+v", f)
	}
	b.must("spec", "--rootless")
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	if err != nil || spec.Version != specs.Version || len(spec.Linux.UIDMappings) != 1 {
		t.Errorf("spec: %v: %s", err, data)
	}
	if r := b.cli("spec"); r.code != 1 || !strings.Contains(r.stderr, "exists") {
		t.Errorf("spec over an existing one: %+v", r)
	}
	for _, args := range [][]string{{"--nosuch"}, {"state"}, {"state", "a", "b"}, {"state", "../x"}, {"state", ".."}, {"create", "--nosuch", "x"}} {
		if r := b.cli(args...); r.code != 1 || !strings.HasPrefix(r.stderr, "cpc-runtime: ") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := b.cli("nosuch"); r.code != 3 || !strings.HasPrefix(r.stderr, "cpc-runtime: ") {
		t.Errorf("an unknown command: %+v", r)
	}
	for _, args := range [][]string{{"--version"}, {"--help"}, {"help"}} {
		if r := b.must(args...); r.stdout == "" {
			t.Errorf("%v: no output", args)
		}
	}
	for _, verb := range []string{
		"checkpoint", "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "restore", "resume", "run",
		"spec", "start", "state", "update",
	} {
		if r := b.must(verb, "--help"); !strings.HasPrefix(r.stdout, "NAME:\n   cpc-runtime "+verb+" - ") {
			t.Errorf("%s: %q", verb, r.stdout)
		}
	}
}
