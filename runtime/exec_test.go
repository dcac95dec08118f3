// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

func TestExec(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		r := b.must("exec", "-e", "A=b", "--env", "C=d=e", "--cwd", "/tmp", "c1", "probe", "look", "-x", "--cwd")
		var v view
		decode(t, r.stdout, &v)
		if !slices.Contains(v.Env, "A=b") || !slices.Contains(v.Env, "C=d=e") || v.Cwd != "/tmp" || v.Hostname != "sandbox" {
			t.Errorf("env %v, cwd %s, host %s", v.Env, v.Cwd, v.Hostname)
		}
		if !slices.Equal(v.Args, []string{"probe", "look", "-x", "--cwd"}) {
			t.Errorf("args %q", v.Args)
		}
		if v.Status["CapEff"] != "00000000000000c1" || v.Status["NoNewPrivs"] != "1" || len(v.FDs) > 4 {
			t.Errorf("CapEff %s, NoNewPrivs %s, fds %v", v.Status["CapEff"], v.Status["NoNewPrivs"], v.FDs)
		}
		if r := b.cli("exec", "c1", "probe", "exit", "9"); r.code != 9 {
			t.Errorf("exit %d, want 9", r.code)
		}
		if r := b.cli("exec", "c1", "probe", "suicide"); r.code != 128+15 {
			t.Errorf("exit %d, want 143: %s", r.code, r.stderr)
		}
		for _, args := range [][]string{{"exec", "c1"}, {"exec", "-u", "x", "c1", "probe"}, {"exec", "-g", "-1", "c1", "probe"}, {"exec", "nosuch", "probe"}} {
			if r := b.cli(args...); r.code == 0 {
				t.Errorf("%v succeeded", args)
			}
		}
		if b.size > 1 {
			decode(t, b.must("exec", "-u", "1000:1001", "-g", "5", "--cap", "CAP_KILL", "c1", "probe", "look").stdout, &v)
			if v.UID != 1000 || v.GID != 1001 || !slices.Equal(v.Groups, []int{5}) || v.Status["CapBnd"] != "00000000000000e1" {
				t.Errorf("uid %d, gid %d, groups %v, CapBnd %s", v.UID, v.GID, v.Groups, v.Status["CapBnd"])
			}
		}
	})
}

func TestExecProcessFile(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		p := specs.Process{Args: []string{"/bin/probe", "look"}, Cwd: "/tmp", Env: []string{"X=y"}}
		data, err := json.Marshal(p)
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, "p.json"), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		pidFile := filepath.Join(b.dir, "exec.pid")
		var v view
		decode(t, b.must("exec", "--process", "p.json", "--pid-file", pidFile, "c1").stdout, &v)
		if v.Cwd != "/tmp" || !slices.Contains(v.Env, "X=y") {
			t.Errorf("cwd %s, env %v", v.Cwd, v.Env)
		}
		if pid, err := os.ReadFile(pidFile); err != nil || len(pid) == 0 {
			t.Errorf("pid file %q, %v", pid, err)
		}
	})
}

// A pid that cannot be written is known before the program runs.
func TestPidFileUnwritable(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		b.file("file", "", 0o644)
		b.sleeper("c1")
		b.write(b.spec("probe", "look"))
		for path, message := range map[string]string{
			filepath.Join(b.dir, "nosuch", "pid"):         "no such file or directory",
			filepath.Join(b.dir, "rootfs"):                "is a directory",
			filepath.Join(b.dir, "rootfs", "file", "pid"): "not a directory",
		} {
			for _, args := range [][]string{{"create", "c2"}, {"run", "c2"}, {"exec", "c1", "probe", "look"}} {
				r := b.cli(append([]string{args[0], "--pid-file", path}, args[1:]...)...)
				want := args[0] + " " + args[1] + ": pid file: open " + path + ": " + message + "\n"
				if r.code == 0 || r.stdout != "" || !strings.HasSuffix(r.stderr, want) {
					t.Errorf("%s --pid-file %s: %+v", args[0], path, r)
				}
			}
		}
		if r := b.must("list", "-q"); r.stdout != "c1\n" {
			t.Errorf("left: %q", r.stdout)
		}
	})
}

// console accepts one terminal on a socket.
func console(t *testing.T, path string) <-chan *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	masters := make(chan *os.File, 1)
	go func() {
		defer close(masters)
		defer func() { _ = l.Close() }()
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		oob := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), oob)
		if err != nil {
			return
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			masters <- os.NewFile(uintptr(fds[0]), "master")
		}
	}()
	return masters
}

// readLine collects a terminal's output up to the end of a line.
func readLine(t *testing.T, f *os.File) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(all.String(), "\n") {
		n, err := f.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			if !errors.Is(err, unix.EIO) {
				t.Error(err)
			}
			break
		}
	}
	return all.String()
}

func TestTerminal(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		// A path that does not fit into a socket address.
		long := filepath.Join(b.dir, strings.Repeat("d", 100))
		if err := os.Mkdir(long, 0o755); err != nil {
			t.Fatal(err)
		}
		short := filepath.Join(b.dir, "s")
		masters := console(t, short)
		if err := os.Rename(short, filepath.Join(long, "s")); err != nil {
			t.Fatal(err)
		}
		spec := b.spec("/bin/probe", "look")
		spec.Process.Terminal = true
		spec.Process.ConsoleSize = &specs.Box{Width: 123, Height: 45}
		b.create("c1", spec, "--console-socket", filepath.Join(long, "s"))
		if got := initThreads(b.state("c1").Pid); (got == "1") != (os.Getenv(envLongWay) == "") {
			t.Errorf("the init that waits has %s threads", got)
		}
		master := <-masters
		if master == nil {
			t.Fatal("no terminal received")
		}
		defer func() { _ = master.Close() }()
		if size, err := pty.GetsizeFull(master); err != nil || size.Cols != 123 || size.Rows != 45 {
			t.Errorf("window size %+v, %v", size, err)
		}
		b.must("start", "c1")
		out := readLine(t, master)
		var v view
		decode(t, strings.TrimSpace(out), &v)
		for _, fd := range []string{"0", "1", "2"} {
			if v.FDs[fd] != "/dev/pts/0" {
				t.Errorf("descriptor %s is %s", fd, v.FDs[fd])
			}
		}
	})
}

// A terminal that was made on a way that failed is not the one that is received.
func TestTerminalLongWay(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.link("/proc/self/root/tmp", "link") // the quick way follows none of procfs
		b.own()
		socket := filepath.Join(b.dir, "s")
		masters := console(t, socket)
		spec := b.spec("/bin/probe", "echo", "hello")
		spec.Process.Terminal = true
		spec.Linux.MaskedPaths = []string{"/link"}
		b.create("c1", spec, "--console-socket", socket)
		if got := initThreads(b.state("c1").Pid); got == "1" {
			t.Error("the quick way did not fail")
		}
		master := <-masters
		if master == nil {
			t.Fatal("no terminal received")
		}
		defer func() { _ = master.Close() }()
		b.must("start", "c1")
		if got := readLine(t, master); got != "hello\r\n" {
			t.Errorf("the terminal says %q", got)
		}
	})
}

// Whoever gets the master of an exec's terminal by a socket, and sets its size then,
// does so before the command asks for it.
func TestExecTerminalSizedLater(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		path := filepath.Join(b.dir, "s")
		masters := console(t, path)
		sized := make(chan *os.File, 1)
		go func() {
			master := <-masters
			if master != nil {
				_ = pty.Setsize(master, &pty.Winsize{Rows: 45, Cols: 123})
			}
			sized <- master
		}()
		b.must("exec", "-t", "-d", "--console-socket", path, "c1", "probe", "size")
		master := <-sized
		if master == nil {
			t.Fatal("no terminal received")
		}
		defer func() { _ = master.Close() }()
		if got := readLine(t, master); got != "45 123\r\n" {
			t.Errorf("the command sees %q", got)
		}
		if _, err := os.Stat(filepath.Join(b.states, "@longway")); err == nil && os.Getenv(envLongWay) == "" {
			t.Error("the exec took the long way")
		}
	})
}

func TestExecTerminal(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		b.sleeper("c1")
		path := filepath.Join(b.dir, "s")
		masters := console(t, path)
		b.must("exec", "-t", "-d", "--console-socket", path, "c1", "probe", "look")
		master := <-masters
		if master == nil {
			t.Fatal("no terminal received")
		}
		defer func() { _ = master.Close() }()
		var v view
		decode(t, strings.TrimSpace(readLine(t, master)), &v)
		for _, fd := range []string{"0", "1", "2"} {
			if !strings.HasPrefix(v.FDs[fd], "/dev/pts/") {
				t.Errorf("descriptor %s is %s", fd, v.FDs[fd])
			}
		}
		if len(v.FDs) > 4 { // and what it reads them by
			t.Errorf("descriptors %v", v.FDs)
		}
		for _, args := range [][]string{
			{"exec", "-t", "-d", "c1", "probe"},
			{"exec", "-d", "--console-socket", path, "c1", "probe"},
			{"exec", "-t", "-d", "--console-socket", path + "x", "c1", "probe"},
		} {
			if r := b.cli(args...); r.code != 255 {
				t.Errorf("%v: %+v", args, r)
			}
		}
	})
}

// A terminal on whose command the quick way gives up is that of the long one.
func TestExecTerminalLongWay(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.file("etc/passwd", "no entry\nroot:x:0:0:root:/:/bin/sh\n", 0o644) // the quick way judges none
		b.own()
		b.sleeper("c1")
		path := filepath.Join(b.dir, "s")
		masters := console(t, path)
		b.must("exec", "-t", "-d", "--console-socket", path, "c1", "probe", "echo", "hello")
		master := <-masters
		if master == nil {
			t.Fatal("no terminal received")
		}
		defer func() { _ = master.Close() }()
		if out := readLine(t, master); out != "hello\r\n" {
			t.Errorf("output %q", out)
		}
	})
}

// maxInitThreads bounds the reaper's threads, which count against the sandbox's
// pids: 5 or 6 on a host of two processors. Go starts some before main runs, the
// more the more processors there are; 11 were seen.
const maxInitThreads = 16

// Signals by name and number reach init; the reaper passes them on, reaps, and
// exits as its command does.
func TestReaper(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		reaper := func(args ...string) *specs.Spec {
			s := b.spec(append([]string{"/bin/init", "reaper", "--"}, args...)...)
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/bin/init", Type: "bind", Source: b.runtime, Options: []string{"bind", "ro", "nosuid", "nodev"},
			})
			return s
		}
		b.file("bin/init", "", 0o755)
		b.file("bin/garbage", "garbage", 0o755)
		for _, tt := range []struct {
			args []string
			want int
		}{
			{[]string{"probe", "exit", "3"}, 3},
			{[]string{"probe", "suicide"}, 143},
			{[]string{"nosuch"}, 127},
			{[]string{"/nosuch"}, 127},
			{[]string{"/bin/garbage"}, 126},
			{[]string{"/bin"}, 126},
			{nil, 2},
		} {
			if r := b.run(reaper(tt.args...)); r.code != tt.want || tt.want != 3 && tt.want != 143 && !strings.HasPrefix(r.stderr, "cpc-runtime: reaper: ") {
				t.Errorf("%v: %+v, want %d", tt.args, r, tt.want)
			}
		}
		if r := b.run(reaper("probe", "orphan")); strings.TrimSpace(r.stdout) != "0" {
			t.Errorf("zombies: %+v", r)
		}
		var v view
		decode(t, b.run(reaper("probe", "look")).stdout, &v)
		if v.Pid == 1 || v.Pgid != v.Pid || v.InitThreads > maxInitThreads {
			t.Errorf("pid %d, process group %d, threads of init %d", v.Pid, v.Pgid, v.InitThreads)
		}
		t.Logf("threads of init: %d", v.InitThreads)
		for _, sig := range []string{"USR1", "SIGUSR1", strconv.Itoa(int(unix.SIGUSR1))} {
			b.signalled(t, reaper("probe", "trap"), sig)
		}
	})
}

// signalled starts a container and sends it SIGUSR1 under some name.
func (b *bench) signalled(t *testing.T, spec *specs.Spec, sig string) {
	t.Helper()
	b.create("trap", spec)
	b.must("start", "trap")
	testkit.Eventually(t, testkit.Patience, "the container is ready", func() bool { return strings.Contains(b.output("trap"), "ready") })
	b.must("kill", "trap", sig)
	b.waitStatus("trap", "stopped")
	if out := b.output("trap"); !strings.Contains(out, "user defined signal 1") {
		t.Errorf("signal %s: output %q", sig, out)
	}
	b.must("delete", "trap")
	if r := b.cli("kill", "trap", "NOSUCH"); r.code != 1 || !strings.Contains(r.stderr, `unknown signal "NOSUCH"`) {
		t.Errorf("unknown signal: %+v", r)
	}
}
