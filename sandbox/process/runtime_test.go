// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlain: what a person can do something about, and nothing of the runtime's
// inside.
func TestPlain(t *testing.T) {
	for why, want := range map[string]string{
		`unable to start container process: error during container init: mkdir /etc/passwd: not a directory`:                                                                                                `mkdir /etc/passwd: not a directory`,
		`error during container init: error mounting "tmpfs" to rootfs at "/etc/passwd": mount src=tmpfs, dst=/etc/passwd, dstFd=/proc/thread-self/fd/14, flags=MS_NOSUID, data=mode=0644: not a directory`: `mount tmpfs on /etc/passwd: not a directory`,
		`something else: of its own`: `something else: of its own`,
	} {
		if got := plain(why); got != want {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		op, why string
		want    error // nil: neither
	}{
		{"create", `exec: "nosuch": executable file not found in $PATH`, ErrNotFound},
		{"create", `unable to start container process: exec: "/nosuch": stat /nosuch: no such file or directory`, ErrNotFound},
		{"exec", `exec c: unable to start container process: exec: "/f/x": stat /f/x: not a directory`, ErrNotFound},
		{"exec", `exec c: unable to start container process: exec: "/loop": stat /loop: too many levels of symbolic links`, ErrNotExecutable},
		{"exec", `exec failed: unable to start container process: exec: "/etc": is a directory: permission denied`, ErrNotExecutable},
		{"start", `exec /bin/x: exec format error`, ErrNotExecutable},
		{"create", `exec: "/etc/passwd": permission denied`, ErrNotExecutable},
		{"create", `error mounting "/x" to rootfs at "/y": stat /x: no such file or directory`, nil},
		{"create", `chdir to cwd ("/nosuch") set in config.json failed: no such file or directory`, ErrWorkdir},
		{"delete", `exec: "nosuch": executable file not found in $PATH`, nil},
		{"create", "", nil},
	} {
		err := classify(c.op, c.why)
		for _, sentinel := range []error{ErrNotFound, ErrNotExecutable, ErrWorkdir} {
			if got := errors.Is(err, sentinel); got != errors.Is(c.want, sentinel) {
				t.Errorf("%s: %q: %v; is %q: %v", c.op, c.why, err, sentinel, got)
			}
		}
		kept := c.why
		if i := strings.LastIndex(kept, "exec: "); i >= 0 && c.want != nil {
			kept = kept[i+len("exec: "):] // the command and the cause
		}
		if errors.Is(c.want, ErrWorkdir) {
			kept = "no such file or directory"
		}
		if err == nil || !strings.Contains(err.Error(), kept) {
			t.Errorf("%s: %q is lost in %v", c.op, c.why, err)
		}
	}
}

func TestLastError(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, log, want string }{
		{"none", `{"level":"info","msg":"hello"}` + "\n", ""},
		{"last of two", `{"level":"error","msg":"one"}` + "\n" + `{"level":"fatal","msg":"two"}` + "\n" + `{"level":"debug","msg":"x"}`, "two"},
		{"cut off", `{"level":"error","msg":"one"}` + "\n" + `{"level":"error","ms`, "one"},
		{"not json", "panic: oh\n", ""},
		{"a line without end", strings.Repeat("x", 2<<20), ""},
		{"empty", "", ""},
	} {
		file := filepath.Join(dir, "log")
		if err := os.WriteFile(file, []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readLog(file).err; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := readLog(filepath.Join(dir, "nosuch")); got != (logged{}) {
		t.Errorf("no file: %q", got)
	}
}

func TestLongWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	log := `{"level":"warning","msg":"x"}` + "\n" + `{"level":"info","longWay":"id-mappings","msg":"start c1"}` + "\n" + `{"level":"info","msg":"y"}` + "\n"
	if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := readLog(file), (logged{longWay: "id-mappings"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestExitCode(t *testing.T) {
	for status, want := range map[unix.WaitStatus]int{
		0: 0, 7 << 8: 7, 255 << 8: 255, 9: 137, 15: 143, 11 | 0x80: 139, // 0x80: dumped core
	} {
		if got := ExitCode(status); got != want {
			t.Errorf("status %#x: %d, want %d", uint32(status), got, want)
		}
	}
}

func TestTakePID(t *testing.T) {
	o := &Runtime{Dir: t.TempDir()}
	for text, ok := range map[string]bool{"4711": true, "4711\n": true, "": false, "1": false, "-5": false, "0": false, "12 13": false} {
		if err := os.WriteFile(filepath.Join(o.Dir, "pid"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pid, err := o.takePID("pid")
		if (err == nil) != ok || (ok && pid != 4711) {
			t.Errorf("%q: %d, %v", text, pid, err)
		}
	}
	if _, err := o.takePID("pid"); err == nil {
		t.Error("read a file that is gone")
	}
}

func TestOneDescriptor(t *testing.T) {
	open := func() int {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	a, b := open(), open()
	if fd, err := oneDescriptor(unix.UnixRights(a)); err != nil || fd != a {
		t.Errorf("one: %d, %v", fd, err)
	}
	for name, oob := range map[string][]byte{
		"none": nil, "two": unix.UnixRights(a, b), "two messages": append(unix.UnixRights(a), unix.UnixRights(b)...),
		"credentials": unix.UnixCredentials(&unix.Ucred{}), "rubbish": {1, 2, 3},
	} {
		if fd, err := oneDescriptor(oob); err == nil {
			t.Errorf("%s: descriptor %d and no error", name, fd)
		}
	}
}

// What a runtime may give to the container's user is not the host's own device.
func TestOwnNull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else can give a device away")
	}
	var host unix.Stat_t
	if err := unix.Stat(os.DevNull, &host); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*os.File, error){"own": ownNull, "device": newNull, "stand-in": emptyFile} {
		f, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Dev == host.Dev && st.Ino == host.Ino {
			t.Errorf("%s: is the host's (%v)", name, err)
		}
		if name == "device" && st.Rdev != host.Rdev {
			t.Errorf("device %#x, want %#x", st.Rdev, host.Rdev)
		}
		if n, err := f.Read(make([]byte, 8)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
		if _, err := f.WriteString("words"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close()
	}
}

// A runtime that fails may leave mounts in its state directory (runsc does).
func TestDeleteUnmounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to mount")
	}
	const inside = "CPC_TEST_OWN_MOUNTS"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := filepath.Join(t.TempDir(), "a b\\c")
	fake := filepath.Join(t.TempDir(), "fake")
	script := "#!/bin/sh\nset -e\ncase $* in *create*) mkdir -p \"$2/x/y\"; mount -t tmpfs t \"$2/x\"; mkdir \"$2/x/z\"; mount -t tmpfs t \"$2/x/z\"; exit 1; esac\n"
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(fake, []byte(script), 0o700)); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	o := &Runtime{Path: fake, Dir: dir, ID: "c"}
	if _, err := o.Create(t.Context(), Streams{}); err == nil {
		t.Fatal("the fake runtime did not fail")
	}
	if err := os.RemoveAll(dir); err == nil {
		t.Fatal("nothing was mounted")
	}
	if err := errors.Join(o.Delete(t.Context()), os.RemoveAll(dir)); err != nil {
		t.Error(err)
	}
}

// A runtime that changes its directory first finds the console socket, too.
func TestConsoleSocket(t *testing.T) {
	long := "/" + strings.Repeat("d", 110)
	for dir, want := range map[string]string{"/run/cpc/x": "/run/cpc/x/c.sock", long: "c.sock", "relative": "c.sock"} {
		if got := (&Runtime{Dir: dir}).consoleSocket("c.sock"); got != want {
			t.Errorf("in %s: %s, want %s", dir, got, want)
		}
	}
}
