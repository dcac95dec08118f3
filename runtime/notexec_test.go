// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What only execve(2) finds out is an error of start, run and exec, with a shell's
// status, and the container's process ends with that too.
func TestNotExecutable(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for name, content := range map[string]string{
			"garbage": "garbage", "empty": "", "orphan": "#!/nosuch\n", "windows": "#!/bin/probe\r\necho\r\n", "elf": "\x7fELF\x01\x01\x01", "loop": "#!/bin/loop\n",
		} {
			b.file("bin/"+name, content, 0o755)
		}
		b.sleeper("sleeper")
		for _, tt := range []struct{ command, message string }{
			{"garbage", "exec format error"},
			{"empty", "exec format error"},
			{"elf", "exec format error"},
			{"orphan", "no such file or directory"},
			{"windows", "no such file or directory"},
			{"loop", "too many levels of symbolic links"},
		} {
			b.notExecutable([]string{tt.command}, tt.message)
			if b.name != "root" {
				break // the others differ in the kernel's answer only
			}
		}
		large := b.spec("probe", "echo", strings.Repeat("x", 1<<17))
		process, err := json.Marshal(large.Process)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(b.dir, "process")
		if err := os.WriteFile(file, process, 0o644); err != nil {
			t.Fatal(err)
		}
		for verb, r := range map[string]result{"run": b.run(large), "exec": b.cli("exec", "--process", file, "sleeper")} {
			if r.code != 126 || !strings.HasSuffix(r.stderr, "argument list too long\n") {
				t.Errorf("%s: %+v", verb, r)
			}
		}
		busy, err := os.OpenFile(filepath.Join(b.dir, "rootfs/bin/busy"), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		b.notExecutable([]string{"busy"}, "text file busy")
		if err := busy.Close(); err != nil {
			t.Fatal(err)
		}
		if r := b.must("exec", "sleeper", "probe", "echo", "alive"); r.stdout != "alive\n" {
			t.Errorf("afterwards: %+v", r)
		}
	})
}

// notExecutable runs a command each way.
func (b *bench) notExecutable(args []string, message string) {
	t := b.t
	t.Helper()
	check := func(verb string, r result) {
		t.Helper()
		if r.code != 126 || !strings.HasSuffix(r.stderr, message+"\n") || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" {
			t.Errorf("%s %.40q: exit %d, %.200q; want 126 and one line that ends in %q", verb, args, r.code, r.stderr, message)
		}
	}
	check("run", b.run(b.spec(args...)))
	check("exec", b.cli(append([]string{"exec", "sleeper"}, args...)...))
	b.create("c1", b.spec(args...))
	check("start", b.cli("start", "c1"))
	b.waitStatus("c1", "stopped")
	b.must("delete", "c1")
}

// Libcontainer's init tells the command's stderr why; the statuses are the same.
// As runc, they are runc's.
func TestNotExecutableLongWay(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		t.Setenv(envLongWay, "1")
		b.sleeper("sleeper")
		for name, file := range map[string]struct{ content, message string }{
			"garbage": {"garbage", "exec format error"}, "orphan": {"#!/nosuch\n", "no such file or directory"}, "windows": {"#!/bin/probe\r\n", "no such file or directory"},
		} {
			b.file("bin/"+name, file.content, 0o755)
			message := "exec /bin/" + name + ": " + file.message + "\n"
			ran := b.run(b.spec(name))
			b.create("c2", b.spec(name))
			for verb, r := range map[string]result{"run": ran, "exec": b.cli("exec", "sleeper", name)} {
				if r.code != 126 || !strings.HasPrefix(r.stderr, message) {
					t.Errorf("%s %s: %+v", verb, name, r)
				}
			}
			// runc's start ends with 0. Who is init's parent may have reaped it before start
			// looks; nobody but the parent knows then whether it executed the command.
			if r := b.cli("start", "c2"); r.code != 126 && r.code != 0 {
				t.Errorf("start %s: %+v", name, r)
			}
			b.waitStatus("c2", "stopped")
			if out := b.output("c2"); out != message {
				t.Errorf("%s: printed %q", name, out)
			}
			b.must("delete", "--force", "c2")
			if b.name != "root" {
				break
			}
		}
		b.refusedLongWay()
		if r := b.cli("exec", "sleeper", "probe", "exit", "255"); r.code != 255 {
			t.Errorf("a command that ends so: %+v", r)
		}
		own := b.runtime
		b.runtime = filepath.Join(t.TempDir(), "runc")
		if err := os.Symlink(own, b.runtime); err != nil {
			t.Fatal(err)
		}
		b.file("bin/garbage", "garbage", 0o755)
		for _, long := range []string{"1", ""} {
			t.Setenv(envLongWay, long)
			if r := b.run(b.spec("garbage")); r.code != 255 || r.stderr != "exec /bin/garbage: exec format error\n" {
				t.Errorf("as runc: %+v", r)
			}
		}
		b.runtime = own
	})
}

// refusedLongWay: E2BIG, and EACCES, which the look for the command does not see
// where its interpreter is what may not be executed.
func (b *bench) refusedLongWay() {
	t := b.t
	t.Helper()
	b.file("bin/closed", "garbage", 0o644)
	b.file("bin/barred", "#!/bin/closed\n", 0o755)
	for what, c := range map[string]struct {
		args    []string
		message string
	}{
		"E2BIG":                  {[]string{"probe", "echo", strings.Repeat("x", 1<<17)}, "argument list too long"},
		"EACCES":                 {[]string{"/bin/closed"}, "permission denied"},
		"EACCES, an interpreter": {[]string{"barred"}, "permission denied"},
		"EACCES, a directory":    {[]string{"/bin"}, ""},
	} {
		spec := b.spec(c.args...)
		process, err := json.Marshal(spec.Process)
		if err != nil {
			t.Fatal(err)
		}
		b.file("../process", string(process), 0o644)
		for verb, r := range map[string]result{"run": b.run(spec), "exec": b.cli("exec", "--process", filepath.Join(b.dir, "process"), "sleeper")} {
			if r.code != 126 || !strings.Contains(r.stderr, c.message) {
				t.Errorf("%s %s: exit %d, %.300q; want 126, %q", verb, what, r.code, r.stderr, c.message)
			}
		}
	}
}

// What is no file, or far too large, does not hold up who looks for a home in it.
func TestPasswdNoFile(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		for _, name := range []string{"passwd", "group"} {
			b.file("etc/"+name, "", 0o644)
			path := filepath.Join(b.dir, "rootfs/etc", name)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b.sleeper("c1")
		if r := b.must("exec", "c1", "probe", "cat", "/proc/self/environ"); !strings.Contains(r.stdout, "HOME=/\x00") {
			t.Errorf("a fifo: %q", r.stdout)
		}
		passwd := filepath.Join(b.dir, "rootfs/etc/passwd")
		if err := os.Remove(passwd); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/proc/self/mem", passwd); err != nil {
			t.Fatal(err)
		}
		b.must("exec", "c1", "probe", "exit", "0")
		if err := os.Remove(passwd); err != nil {
			t.Fatal(err)
		}
		b.file("etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644)
		if err := os.Truncate(passwd, 1<<40); err != nil { // a hole
			t.Fatal(err)
		}
		if r := b.must("exec", "c1", "probe", "cat", "/proc/self/environ"); !strings.Contains(r.stdout, "HOME=/\x00") {
			t.Errorf("a huge one: %q", r.stdout)
		}
	})
}
