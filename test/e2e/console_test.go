// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the console's document has people and programs type, to the letter.
const (
	consoleBuild = `docker build -f Dockerfile.sandbox -t claude-pocket-console/sandbox:latest .`
	consoleShell = `docker run -it --rm --name cpc-sandbox-${USER_ID} --memory="2g" --cpus="1.0" --pids-limit=100 --read-only` +
		` --tmpfs /tmp:rw,noexec,nosuid,size=1g --tmpfs /home/sandbox:rw,exec,nosuid,size=1g --security-opt no-new-privileges` +
		` --cap-drop ALL --cap-add CHOWN --cap-add SETUID --cap-add SETGID claude-pocket-console/sandbox:latest`
	consolePython = `docker run --rm --name cpc-sandbox-${USER_ID} claude-pocket-console/sandbox:latest python3 -c "print('Hello from sandbox')"`
)

// TestConsoleCommands runs the three commands of the console, verbatim but for
// the program's name: builds the sandbox's image from Debian's packages, has a
// shell at a terminal in it, and looks from inside and outside whether what the
// command line asks for holds; and runs the one-liner.
func TestConsoleCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the whole sandbox image from Debian's packages")
	}
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		w.cpc(t) // the base image is there
		context := filepath.Join(w.home, "console")
		copyContext(t, w, context)
		command := func(line string) *exec.Cmd {
			line, ok := strings.CutPrefix(line, "docker ")
			if !ok {
				t.Fatal(line)
			}
			cmd := w.command("sh", "-c", w.bin+" "+line)
			cmd.Dir, cmd.Env = context, append(cmd.Env, "USER_ID=4711")
			return cmd
		}
		if out, err := command(consoleBuild).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		p := startTerminal(t, w, command(consoleShell))
		p.expect("$ ", 60*time.Second)
		w.consoleInside(t, p)
		if w.mode == root {
			w.consoleLimits(t, "cpc-sandbox-4711")
		}
		p.send("exit 5\r")
		if code := p.wait(20 * time.Second); code != 5 {
			t.Errorf("the shell's exit status is %d", code)
		}
		w.leftovers(t)

		r := finish(t, command(consolePython))
		if r.code != 0 || r.stdout != "Hello from sandbox\n" || r.stderr != "" {
			t.Errorf("the one-liner: %+v", r)
		}
		w.leftovers(t)
	})
}

// copyContext copies build/image to where the caller can read it.
func copyContext(t *testing.T, w *who, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS("../../build/image")); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if d.IsDir() {
			mode = 0o755
		}
		return errors.Join(os.Chmod(path, mode), os.Chown(path, w.uid, w.gid))
	}); err != nil {
		t.Fatal(err)
	}
}

// consoleInside types into the shell, and reads what it answers.
func (w *who) consoleInside(t *testing.T, p *terminal) {
	t.Helper()
	for _, c := range []struct{ typed, shown string }{
		{`echo "[$(id -u) $(id -un) $PWD]"`, "[1000 sandbox /home/sandbox]"},
		{`echo "[$(stty size)]"`, "[24 80]"},
		{`touch /usr/x`, "Read-only file system"},
		{`cp /bin/true /tmp/t; /tmp/t; echo "[$?]"`, "[126]"},
		{`cp /bin/true ~/t; ~/t; echo "[$?]"`, "[0]"},
		{`echo "[$(df -BM --output=size /tmp /home/sandbox | tail -n +2 | tr -dc '0-9\n' | xargs)]"`, "[1024 1024]"},
		{`echo "[$(grep -h -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | xargs)]"`, "[00000000000000c1 1 2]"},
		{`mount -t tmpfs x /mnt; echo "[$?]"`, "[32]"},
		{`unshare -U true; echo "[$?]"`, "[1]"},
		{`python3 -c 'print(6*7)' | sed 's/^/=/'`, "=42"},
		{`node -e 'console.log("=" + 6*7)'`, "=42"},
		{`printf '=%s\n' h$(printf '\303\251')llo`, "=h\u00e9llo"},
	} {
		p.send(c.typed + "\r")
		p.expect("\r\n", 10*time.Second) // the echo of what was typed
		p.expect(c.shown, 20*time.Second)
		p.expect("$ ", 20*time.Second)
	}
}

// consoleLimits looks at the kernel's files for the limits of the command line,
// and tries one of them.
func (w *who) consoleLimits(t *testing.T, name string) {
	t.Helper()
	pid := atoi(t, w.inspect(t, name, ".State.Pid"))
	for _, c := range []struct{ v1, v2, want string }{
		{"memory/memory.limit_in_bytes", "memory.max", strconv.Itoa(2 << 30)},
		{"pids/pids.max", "pids.max", "100"},
		{"cpu/cpu.cfs_quota_us", "cpu.max", "100000"},
	} {
		got, err := limitOf(pid, c.v1, c.v2)
		if err != nil || got != c.want {
			t.Errorf("%s or %s: %q, %v; want %s", c.v1, c.v2, got, err, c.want)
		}
	}
	threads := `import threading
n = 0
try:
    while n < 300:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        n += 1
except RuntimeError:
    pass
print(n, flush=True)
import os
os._exit(0)`
	if n := atoi(t, w.must(t, "exec", name, "python3", "-c", threads)); n < 80 || n > 100 {
		t.Errorf("%d threads started, under a limit of 100", n)
	}
	if hits := atoi(t, w.inspect(t, name, ".State.PidsLimitHits")); hits == 0 {
		t.Log("the pids limit was hit, but inspect does not count it while the sandbox runs")
	}
}

// limitOf reads a limit of the cgroup that a process is in. The first word of
// a v2 file is the limit.
func limitOf(pid int, v1, v2 string) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	controller, file := filepath.Split(v1)
	controller = strings.TrimSuffix(controller, "/")
	unified := ""
	for _, line := range lines(string(raw)) {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			if c == controller {
				return firstWord(filepath.Join("/sys/fs/cgroup", controller, parts[2], file))
			}
		}
		if parts[1] == "" {
			unified = parts[2]
		}
	}
	return firstWord(filepath.Join("/sys/fs/cgroup", unified, v2))
}

func firstWord(file string) (string, error) {
	raw, err := os.ReadFile(file)
	word, _, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	return word, err
}
