// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// group is the container's cgroup directory of a controller.
func (b *bench) group(controller string) string {
	b.t.Helper()
	dir := filepath.Join("/sys/fs/cgroup", controller, "cpc", filepath.Base(b.dir)+"-"+strconv.Itoa(b.cgroups))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		b.t.Skip("cgroup v1: this machine has v2 only; update and pause are tested there by podman")
	}
	return dir
}

func (b *bench) limit(controller, file string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.group(controller), file))
	if err != nil {
		b.t.Error(err)
	}
	return strings.TrimSpace(string(data))
}

func TestPause(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		if b.name != "root" {
			b.sleeper("c1")
			if r := b.cli("pause", "c1"); r.code != 1 || !strings.HasPrefix(lastLine(r.stderr), "cpc-runtime: pause c1: ") {
				t.Errorf("pause without a cgroup: %+v", r)
			}
			return
		}
		b.sleeper("c1")
		b.must("pause", "c1")
		b.waitStatus("c1", "paused")
		if r := b.cli("exec", "c1", "probe", "exit", "0"); r.code != 255 || !strings.Contains(r.stderr, "cannot exec in a paused container") {
			t.Errorf("exec in a paused container: %+v", r)
		}
		if r := b.cli("delete", "c1"); r.code != 1 {
			t.Errorf("delete of a paused container: %+v", r)
		}
		b.must("resume", "c1")
		b.waitStatus("c1", "running")
		if r := b.cli("resume", "c1"); r.code != 1 {
			t.Errorf("resume of a running container: %+v", r)
		}
		b.must("pause", "c1")
		b.must("delete", "--force", "c1")
		for _, verb := range []string{"pause", "resume", "ps", "update", "events", "checkpoint"} {
			if r := b.cli(verb, "c1"); r.code != 1 || !strings.Contains(r.stderr, "cpc-runtime: "+verb+" c1: container does not exist") {
				t.Errorf("%s without a container: %+v", verb, r)
			}
		}
	})
}

func TestProcesses(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		if b.name != "root" {
			if r := b.cli("ps", "-f", "json", "c1"); r.code == 0 && !strings.Contains(r.stdout, strconv.Itoa(b.state("c1").Pid)) {
				t.Errorf("ps without a cgroup: %+v", r)
			}
			return
		}
		if r := b.quiet("exec", "-d", "c1", "probe", "sleep"); r.code != 0 {
			t.Fatalf("exec: %+v", r)
		}
		var pids []int
		decode(t, b.must("ps", "--format", "json", "c1").stdout, &pids)
		if len(pids) != 2 || !slices.Contains(pids, b.state("c1").Pid) {
			t.Errorf("processes %v", pids)
		}
		// Of the host's processes, one has a name that looks like columns.
		odd := exec.Command("sleep", "100")
		odd.Path = filepath.Join(b.dir, "a b 1 c")
		sleep, err := exec.LookPath("sleep")
		if err == nil {
			err = os.Symlink(sleep, odd.Path)
		}
		if err == nil {
			err = odd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = odd.Process.Kill(), odd.Wait() }()
		for _, args := range [][]string{{"ps", "c1"}, {"ps", "c1", "-eo", "comm,pid"}} {
			table := strings.Split(strings.TrimSpace(b.must(args...).stdout), "\n")
			if len(table) != 3 || !strings.Contains(table[0], "PID") || !strings.Contains(table[1], "probe") {
				t.Errorf("%v: %q", args, table)
			}
		}
		for _, args := range [][]string{{"ps", "c1", "-eo", "comm"}, {"ps", "-f", "xml", "c1"}, {"ps", "c1", "--nosuch"}} {
			if r := b.cli(args...); r.code != 1 {
				t.Errorf("%v: %+v", args, r)
			}
		}
		b.must("kill", "c1", "KILL")
		b.waitStatus("c1", "stopped")
		// A killed process leaves its cgroup a moment after it can be waited for.
		testkit.Eventually(t, testkit.Patience, "no process of a stopped container is listed", func() bool {
			out := b.must("ps", "-f", "json", "c1").stdout
			return out == "null\n" || out == "[]\n"
		})
	})
}

func TestUpdate(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		for _, args := range [][]string{
			{"--memory", "lots"},
			{"--cpu-period", "-1"},
			{"--pids-limit", "x"},
			{"--blkio-weight", "70000"},
			{"-r", "nosuch.json"},
			{"--l3-cache-schema", "L3:0=f"},
			{"--mem-bw-schema", "MB:0=10"},
		} {
			if r := b.cli(append(append([]string{"update"}, args...), "c1")...); r.code != 1 || !strings.HasPrefix(r.stderr, "cpc-runtime: update") {
				t.Errorf("%v: %+v", args, r)
			}
		}
		if b.name != "root" {
			return
		}
		b.must("update", "--memory", "32m", "--memory-reservation", "16M", "--cpu-quota", "20000", "--cpu-share", "512",
			"--pids-limit", "77", "--cpuset-cpus", "0", "--kernel-memory", "1g", "c1")
		check := func(want map[string]string) {
			t.Helper()
			for file, value := range want {
				controller, name, _ := strings.Cut(file, "/")
				if got := b.limit(controller, name); got != value {
					t.Errorf("%s: %s, want %s", file, got, value)
				}
			}
		}
		check(map[string]string{
			"memory/memory.limit_in_bytes": "33554432", "memory/memory.soft_limit_in_bytes": "16777216",
			"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "100000", "cpu/cpu.shares": "512",
			"pids/pids.max": "77", "cpuset/cpuset.cpus": "0",
		})
		file := filepath.Join(b.dir, "r.json")
		if err := os.WriteFile(file, []byte(`{"memory":{"limit":50331648},"pids":{"limit":-1},"cpu":{"period":50000}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		b.must("update", "--resources", file, "c1")
		check(map[string]string{
			"memory/memory.limit_in_bytes": "50331648", "cpu/cpu.cfs_period_us": "50000", "cpu/cpu.cfs_quota_us": "20000",
			"cpu/cpu.shares": "512", "pids/pids.max": "max",
		})
		cmd := exec.Command(b.runtime, "--root", b.states, "update", "-r", "-", "c1")
		cmd.Stdin = strings.NewReader(`{"cpu":{"quota":30000}}`)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("update from standard input: %v: %s", err, out)
		}
		check(map[string]string{"cpu/cpu.cfs_quota_us": "30000", "cpu/cpu.cfs_period_us": "50000"})
		b.must("exec", "c1", "probe", "exit", "0") // the state is still good
	})
}

func TestEvents(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		if r := b.cli("events", "--interval", "0s", "c1"); r.code != 1 || !strings.Contains(r.stderr, "must be greater than 0") {
			t.Errorf("interval 0: %+v", r)
		}
		b.sleeper("c1")
		if b.name != "root" {
			return
		}
		var event struct {
			Type, ID string
			Data     struct {
				Pids   struct{ Current, Limit uint64 }
				Memory struct{ Usage struct{ Limit, Usage uint64 } }
				CPU    struct{ Usage struct{ Total uint64 } }
			}
		}
		decode(t, b.must("events", "--stats", "c1").stdout, &event)
		if event.Type != "stats" || event.ID != "c1" || event.Data.Pids.Limit != 40 || event.Data.Memory.Usage.Limit != 64<<20 ||
			event.Data.Pids.Current == 0 || event.Data.CPU.Usage.Total == 0 {
			t.Errorf("event %+v", event)
		}
		cmd := exec.Command(b.runtime, "--root", b.states, "events", "--interval", "50ms", "c1")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 3 {
			if !lines.Scan() || json.Unmarshal(lines.Bytes(), &event) != nil || event.Type != "stats" {
				t.Fatalf("event %q", lines.Text())
			}
		}
		b.must("delete", "--force", "c1")
		for lines.Scan() {
			t.Logf("after delete: %.60s", lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("events after the end of the container: %v", err)
		}
	})
}

// Without criu, checkpoint and restore say so and change nothing. With it they
// are tested in the virtual machine.
func TestCheckpointWithoutCriu(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		t.Setenv("PATH", "/nosuch")
		b.sleeper("c1")
		for _, args := range [][]string{{"checkpoint", "c1"}, {"restore", "c2"}} {
			if r := b.cli(args...); r.code != 1 || !strings.Contains(r.stderr, "criu is not installed") {
				t.Errorf("%v: %+v", args, r)
			}
		}
		b.waitStatus("c1", "running")
		if _, err := os.Stat(filepath.Join(b.dir, "checkpoint")); err == nil {
			t.Error("a directory was made")
		}
	})
}

// manager listens as a service manager does, and answers the barrier.
func manager(t *testing.T, path string) <-chan string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	messages := make(chan string, 16)
	go func() {
		for {
			data, oob := make([]byte, 4096), make([]byte, 64)
			n, oobn, _, _, err := conn.ReadMsgUnix(data, oob)
			if err != nil {
				close(messages)
				return
			}
			if controls, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(controls) == 1 {
				fds, _ := unix.ParseUnixRights(&controls[0])
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			}
			messages <- strings.TrimSpace(string(data[:n]))
		}
	}()
	return messages
}

func receive(t *testing.T, messages <-chan string) string {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message")
		return ""
	}
}

// The service manager is told READY and the process to watch, nothing else.
func TestNotifySocket(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		path := filepath.Join(b.dir, "s")
		messages := manager(t, path)
		t.Setenv("NOTIFY_SOCKET", path)
		if err := os.MkdirAll(filepath.Join(b.dir, "rootfs/run/notify"), 0o755); err != nil {
			t.Fatal(err)
		}
		expect := func(pid int) {
			t.Helper()
			for _, want := range []string{"READY=1", "MAINPID=" + strconv.Itoa(pid), "BARRIER=1"} {
				if got := receive(t, messages); got != want {
					t.Errorf("message %q, want %q", got, want)
				}
			}
		}
		b.create("c1", b.spec("probe", "ready"))
		b.must("start", "c1")
		expect(b.state("c1").Pid)
		b.write(b.spec("probe", "ready"))
		if r := b.quiet("run", "--detach", "c2"); r.code != 0 {
			t.Fatalf("run: %+v", r)
		}
		expect(b.state("c2").Pid)
		b.must("delete", "--force", "c2")
		cmd := exec.Command(b.runtime, "--root", b.states, "run", "c3")
		cmd.Dir = b.dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		expect(cmd.Process.Pid)
		b.must("kill", "c3", "KILL")
		_ = cmd.Wait() // 137
		// One that ends without a word does not keep start waiting.
		b.create("c4", b.spec("probe", "exit", "0"))
		b.must("start", "c4")
	})
}

// Sockets of the service manager come first, then what --preserve-fds names.
func TestListenFDs(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.write(b.spec("probe", "look"))
		files := make([]*os.File, 0, 3)
		for _, name := range []string{"one", "two", "three"} {
			f, err := os.Create(filepath.Join(b.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			files = append(files, f)
		}
		// LISTEN_PID must be the pid of the runtime itself.
		script := `export LISTEN_PID=$$ LISTEN_FDS=2; exec "$@"`
		cmd := exec.Command("sh", "-c", script, "sh", b.runtime, "--root", b.states, "run", "--preserve-fds", "1", "c1")
		var out bytes.Buffer
		cmd.Dir, cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = b.dir, files, &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("run: %v: %s", err, out.String())
		}
		var v view
		decode(t, out.String(), &v)
		if !slices.Contains(v.Env, "LISTEN_FDS=2") || !slices.Contains(v.Env, "LISTEN_PID=1") {
			t.Errorf("env %v", v.Env)
		}
		for fd, name := range map[string]string{"3": "one", "4": "two", "5": "three"} {
			if !strings.HasSuffix(v.FDs[fd], "/"+name) {
				t.Errorf("descriptor %s is %q, want %s", fd, v.FDs[fd], name)
			}
		}
		// Those of another process's are not ours.
		t.Setenv("LISTEN_PID", "1")
		t.Setenv("LISTEN_FDS", "2")
		v = view{}
		decode(t, b.run(b.spec("probe", "look")).stdout, &v)
		if len(v.FDs) > 4 {
			t.Errorf("descriptors %v", v.FDs)
		}
	})
}

// podman's --preserve-fd passes some on, and counts to the highest.
func TestPreserveFDsGap(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.write(b.spec("probe", "look"))
		f, err := os.Create(filepath.Join(b.dir, "six"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		run := func(n string) (string, error) {
			var out bytes.Buffer
			cmd := exec.Command(b.runtime, "--root", b.states, "run", "--preserve-fds", n, "c1")
			cmd.Dir, cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = b.dir, []*os.File{nil, nil, nil, f}, &out, &out
			err := cmd.Run()
			return out.String(), err
		}
		out, err := run("4")
		if err != nil {
			t.Fatalf("run: %v: %s", err, out)
		}
		var v view
		decode(t, out, &v)
		for fd, file := range v.FDs {
			if six := strings.HasSuffix(file, "/six"); six != (fd == "6") || !six && (fd == "3" || fd == "4" || fd == "5") && strings.HasPrefix(file, "/") {
				t.Errorf("descriptors %v", v.FDs)
			}
		}
		if v.FDs["6"] == "" {
			t.Errorf("descriptors %v, want 6", v.FDs)
		}
		if out, err := run("5"); err == nil || !strings.Contains(out, "preserve descriptor 7: not passed by the caller") {
			t.Errorf("one too many: %v: %s", err, out)
		}
	})
}

func TestNotifierUnused(t *testing.T) {
	if os.Getenv(envSetting) != "" {
		t.Skip("the same in every setting")
	}
	b := newBench(t, settings()[0])
	b.write(&specs.Spec{Version: specs.Version})
	t.Setenv("NOTIFY_SOCKET", "/nosuch")
	if r := b.cli("create", "c1"); r.code != 1 {
		t.Errorf("create: %+v", r)
	}
}
