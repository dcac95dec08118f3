// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// facts reads lines of a name, a separator and a value.
func facts(out, separator string) map[string]string {
	all := map[string]string{}
	for _, line := range lines(out) {
		if name, value, ok := strings.Cut(line, separator); ok {
			all[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return all
}

// same compares facts with what is wanted; alternatives are separated by "|".
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, values := range want {
		if v, ok := got[name]; !ok || !slices.Contains(strings.Split(values, "|"), v) {
			t.Errorf("%s: %q, want %q", name, v, values)
		}
	}
}

// tries is a shell function that says how an attempt went, in a word or in
// the words of the C library.
const tries = `try() { n=$1; shift; if e=$("$@" 2>&1); then echo "$n=ok"; else e=${e%% (os error*}; echo "$n=${e##*: }"; fi; }
put() { try "$1" sh -c 'echo x >"$1"' - "$1"; }
`

func TestWhatCanBeWritten(t *testing.T) {
	const script = tries + `
for f in /x /usr/x /etc/x /etc/passwd /usr/bin/sh /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/x /sys/fs/cgroup/x; do put $f; done
for d in /tmp /var/tmp "$HOME" /dev/shm; do
	put $d/x
	cp /bin/true $d/program && try "run $d" $d/program
done
try "remount" mount -o remount,rw /
echo "home=$HOME"
df -B1 --output=target,size /tmp "$HOME" /dev/shm | tail -n +2 | while read -r target size; do echo "size $target=$size"; done
`
	each(t, func(t *testing.T, w *who) {
		for _, user := range []struct {
			home    string
			options []string
		}{
			{"/home/sandbox", nil},
			{"/root", []string{"--user", "root", "--cap-add", "ALL"}},
		} {
			got := facts(w.in(t, script, user.options...), "=")
			const refused = "Read-only file system|Permission denied|Operation not permitted|Directory nonexistent|No such file or directory"
			same(t, got, map[string]string{
				"home": user.home,
				"/x":   "Read-only file system", "/usr/x": "Read-only file system", "/etc/x": "Read-only file system",
				"/etc/passwd": refused, "/usr/bin/sh": refused, "/var/tmp/x": "ok", "run /var/tmp": "ok",
				"/proc/sys/kernel/domainname": refused, "/proc/sysrq-trigger": refused, "/sys/x": refused, "/sys/fs/cgroup/x": refused,
				"/tmp/x": "ok", "run /tmp": "Permission denied", user.home + "/x": "ok", "run " + user.home: "ok",
				"/dev/shm/x": "ok", "run /dev/shm": "Permission denied",
				"remount": "Operation not permitted|permission denied.|must be superuser to use mount.|permission denied",
				// Together half of the 2 GiB of memory.
				"size /tmp": "469762048", "size " + user.home: "469762048", "size /dev/shm": "67108864",
			})
			if t.Failed() {
				t.Logf("with %v: %v", user.options, got)
			}
		}
	})
}

// What is written into a root file system that is not read-only goes with the
// sandbox, and the next one of the image does not see it.
func TestWrittenRootIsThrownAway(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for range 2 {
			out := w.in(t, "ls -d /left /etc/issue 2>/dev/null; mkdir /left && rm /etc/issue && ls -d /left /etc/issue 2>/dev/null || true",
				"--read-only=false", "--user", "root", "--cap-add", "DAC_OVERRIDE")
			if out != "/etc/issue\n/left\n" {
				t.Errorf("before and after: %q", out)
			}
		}
	})
}

func TestProcessStatus(t *testing.T) {
	const zero, three = "0000000000000000", "00000000000000c1" // CHOWN, SETGID and SETUID
	cases := []struct {
		name    string
		options []string
		want    map[string]string
		single  map[string]string // where one id is all there is
	}{
		{
			name: "default",
			want: map[string]string{
				"Uid": "1000 1000 1000 1000", "Gid": "1000 1000 1000 1000", "Groups": "1000",
				"CapInh": zero, "CapPrm": zero, "CapEff": zero, "CapBnd": three, "CapAmb": zero, "NoNewPrivs": "1", "Seccomp": "2",
			},
			single: map[string]string{"CapBnd": zero},
		},
		{
			name: "root", options: []string{"--user", "root"},
			want: map[string]string{
				"Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "0",
				"CapInh": zero, "CapPrm": three, "CapEff": three, "CapBnd": three, "CapAmb": zero, "NoNewPrivs": "1", "Seccomp": "2",
			},
		},
		{
			name: "none", options: []string{"--user", "0:0", "--cap-drop", "ALL"},
			want: map[string]string{"CapInh": zero, "CapPrm": zero, "CapEff": zero, "CapBnd": zero, "CapAmb": zero, "NoNewPrivs": "1", "Seccomp": "2"},
		},
		{
			name:    "the console's",
			options: []string{"--user", "0", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "SETUID", "--cap-add", "SETGID"},
			want:    map[string]string{"CapInh": zero, "CapPrm": three, "CapEff": three, "CapBnd": three, "CapAmb": zero},
		},
		{
			name: "one more", options: []string{"--user", "0", "--cap-add", "NET_BIND_SERVICE"},
			want: map[string]string{"CapPrm": "00000000000004c1", "CapBnd": "00000000000004c1", "CapAmb": zero, "CapInh": zero},
		},
		{
			name: "one less", options: []string{"--user", "0", "--cap-drop", "chown"},
			want: map[string]string{"CapPrm": "00000000000000c0", "CapBnd": "00000000000000c0"},
		},
		{
			name: "new privileges", options: []string{"--security-opt", "no-new-privileges=false"},
			want: map[string]string{"NoNewPrivs": "0", "Seccomp": "2", "CapEff": zero},
		},
		{
			name: "ids", options: []string{"--user", "1234:2345"},
			want:   map[string]string{"Uid": "1234 1234 1234 1234", "Gid": "2345 2345 2345 2345", "Groups": "2345"},
			single: map[string]string{"CapEff": zero, "CapBnd": zero},
		},
	}
	each(t, func(t *testing.T, w *who) {
		for _, c := range cases {
			args := append(append([]string{"run", "--rm"}, c.options...), base, "cat", "/proc/self/status")
			got := facts(w.must(t, args...), ":")
			for name, value := range got {
				got[name] = strings.Join(strings.Fields(value), " ")
			}
			for name, want := range c.want {
				if w.mode == single {
					switch name {
					case "Uid", "Gid":
						want = "0 0 0 0"
					case "Groups":
						want = got[name] // nobody may set them; see TestHostIsOutOfReach
					}
					if other, ok := c.single[name]; ok {
						want = other
					}
				}
				if got[name] != want {
					t.Errorf("%s: %s: %q, want %q", c.name, name, got[name], want)
				}
			}
		}
	})
}

// The same holds for a program that exec starts.
func TestExecIsConfined(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "60")
		got := facts(w.must(t, "exec", name, "cat", "/proc/self/status"), ":")
		same(t, got, map[string]string{
			"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
			"CapBnd": "00000000000000c1|0000000000000000", "CapAmb": "0000000000000000", "CapInh": "0000000000000000",
		})
		got = facts(w.must(t, "exec", "--user", "root", name, "cat", "/proc/self/status"), ":")
		same(t, got, map[string]string{
			"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "00000000000000c1", "CapBnd": "00000000000000c1", "CapAmb": "0000000000000000",
		})
	})
}

// byCapability are the calls that a capability of the sandbox's root is needed
// for and enough to be let through the filter; what they can do then is the
// business of the kernel's own checks.
var byCapability = []string{
	"chroot", "process_vm_readv", "open_by_handle_at", "quotactl", "reboot", "settimeofday", "socket raw", "acct", "syslog",
}

func TestSystemCallsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, options := range [][]string{nil, {"--user", "root"}, {"--user", "root", "--cap-add", "ALL"}} {
			args := append(append([]string{"run", "--rm"}, options...), w.probeImage(t), "/probe", "calls")
			got := facts(w.must(t, args...), "\t")
			if len(got) < 110 {
				t.Errorf("only %d calls tried", len(got))
			}
			for name, result := range got {
				want := wantedErrno(name)
				if len(options) > 2 && slices.Contains(byCapability, name) {
					continue
				}
				if result != want {
					t.Errorf("with %v: %s: %s, want %s", options, name, result, want)
				}
			}
		}
	})
}

func wantedErrno(name string) string {
	switch {
	case strings.HasPrefix(name, "clone3"):
		return "ENOSYS"
	case strings.HasPrefix(name, "socket family"):
		return "EAFNOSUPPORT"
	case strings.HasPrefix(name, "socket netlink"):
		return "EPROTONOSUPPORT"
	case strings.HasPrefix(name, "socket ok"):
		return "ok"
	case name == "TIOCLINUX":
		return "ENOTTY"
	}
	return "EPERM"
}

func TestFilesRefused(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, options := range [][]string{nil, {"--user", "root", "--cap-add", "ALL", "--read-only=false"}} {
			args := append(append([]string{"run", "--rm"}, options...), w.probeImage(t), "/probe", "files")
			got := facts(w.must(t, args...), "\t")
			if len(got) < 20 {
				t.Errorf("only %d files tried", len(got))
			}
			for name, result := range got {
				switch {
				case name == "mknod fifo":
					if result != "ok" {
						t.Errorf("%s: %s", name, result)
					}
				case strings.HasPrefix(name, "mknod"):
					if result != "EPERM" {
						t.Errorf("with %v: %s: %s", options, name, result)
					}
				case strings.HasPrefix(name, "write"):
					if !slices.Contains([]string{"EACCES", "EPERM", "EROFS", "ENOENT"}, result) {
						t.Errorf("with %v: %s: %s", options, name, result)
					}
				case !slices.Contains([]string{"empty", "EACCES", "EPERM", "ENOENT"}, result):
					t.Errorf("with %v: %s: %s", options, name, result)
				}
			}
		}
	})
}

// A process of the host's cannot be traced, signalled or seen, and one of the
// sandbox's of another user cannot be traced.
func TestForeignProcesses(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		host := w.command("sleep", "60") // of the very user who runs the sandbox
		if err := host.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = host.Process.Kill()
			_ = host.Wait()
		}()
		image := w.probeImage(t)
		pid := fmt.Sprint(host.Process.Pid)
		for _, user := range []string{"1000", "root"} {
			out := w.must(t, "run", "--rm", "--user", user, "--cap-add", "ALL", image, "/probe", "ptrace", pid)
			if same(t, facts(out, "\t"), map[string]string{"ptrace": "ESRCH", "signal": "ESRCH"}); t.Failed() {
				t.Logf("as %s: %s", user, out)
			}
		}
		if w.mode == single {
			return // no other users
		}
		name := w.name(t)
		w.must(t, "run", "-d", "--name", name, image, "/probe", "sleep")
		out := w.must(t, "exec", "--user", "2000:2000", name, "/probe", "ptrace", "1")
		same(t, facts(out, "\t"), map[string]string{"ptrace": "EPERM", "signal": "EPERM"})
	})
}

// The kernel's documented ways out through cgroup files are closed.
func TestNoWayOutByCgroups(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		out := w.in(t, tries+`
try mount mount -t cgroup -o memory cgroup /tmp
try mkdir mkdir /sys/fs/cgroup/x
for f in $(find /sys/fs/cgroup -name release_agent -o -name cgroup.procs -o -name devices.allow -o -name memory.max 2>/dev/null); do put "$f"; done
echo done=yes`, "--user", "root", "--cap-add", "ALL", "--read-only=false")
		got := facts(out, "=")
		if got["done"] != "yes" {
			t.Errorf("the script did not end: %s", out)
		}
		for name, result := range got {
			if name != "done" && result == "ok" {
				t.Errorf("%s is possible", name)
			}
		}
		groups, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || len(groups) == 0 {
			t.Error(err)
		}
		for _, line := range lines(w.in(t, "cat /proc/self/cgroup")) {
			if w.mode == root && !strings.HasSuffix(line, ":/") && strings.Contains(line, "cpc-") {
				t.Errorf("the sandbox sees its place in the host's cgroups: %s", line)
			}
		}
	})
}
