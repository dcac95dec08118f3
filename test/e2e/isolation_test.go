// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Every namespace is the sandbox's own, and the program is the first process
// in it and sees no others.
func TestOwnNamespaces(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		out := w.in(t, "echo first=$$; for n in /proc/self/ns/*; do echo ${n##*/}=$(readlink $n); done")
		got := facts(out, "=")
		if got["first"] != "1" {
			t.Errorf("pid %s", got["first"])
		}
		for _, name := range []string{"user", "pid", "mnt", "ipc", "uts", "net", "cgroup"} {
			ours, err := os.Readlink("/proc/self/ns/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if got[name] == "" || got[name] == ours {
				t.Errorf("%s namespace: %q inside, %q outside", name, got[name], ours)
			}
		}
		ps := w.in(t, "sleep 5 & for p in /proc/[0-9]*; do [ -r $p/comm ] && echo ${p##*/} $(cat $p/comm); done; kill $!")
		for _, line := range lines(ps) {
			if !slices.Contains([]string{"sh", "sleep", "cat"}, line[strings.IndexByte(line, ' ')+1:]) {
				t.Errorf("a process that is not the sandbox's: %q", line)
			}
		}
		if got := w.in(t, "hostname; cat /etc/hostname", "--hostname", "box"); got != "box\nbox\n" {
			t.Errorf("host name %q", got)
		}
	})
}

func TestNoNetwork(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		out := w.in(t, `ls /sys/class/net; cat /sys/class/net/lo/operstate /sys/class/net/lo/flags
echo routes; tail -n +2 /proc/net/route; grep -v ' lo$' /proc/net/ipv6_route; grep -c . /etc/resolv.conf; true`, "--network", "none")
		got := lines(out)
		// The loopback is up: flags have IFF_UP, as docker's.
		if len(got) < 4 || got[0] != "lo" || got[2] != "0x9" || got[3] != "routes" {
			t.Errorf("interfaces, state and flags: %q", got)
		}
		if len(got) > 5 {
			t.Errorf("routes: %q", got[4:])
		}
	})
}

// The ids of a sandbox are not those of the user who runs it.
func TestIDsOfTheHost(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "60")
		inner := strings.Fields(w.must(t, "exec", name, "cat", "/proc/self/uid_map"))
		pid := w.inspect(t, name, ".State.Pid")
		raw, err := os.ReadFile("/proc/" + pid + "/uid_map")
		if err != nil {
			t.Fatal(err)
		}
		outer := strings.Fields(string(raw)) // as this process, in the host's user namespace, sees it
		if len(outer) != 3 || len(inner) != 3 {
			t.Fatalf("uid_map %q inside, %q outside", inner, outer)
		}
		if w.mode == single {
			if outer[1] != strconv.Itoa(w.uid) || outer[2] != "1" {
				t.Errorf("uid_map %q, the user is %d", outer, w.uid)
			}
			return
		}
		first, count := atoi(t, outer[1]), atoi(t, outer[2])
		if outer[0] != "0" || count != 65536 {
			t.Errorf("uid_map %q", outer)
		}
		if w.uid >= first && w.uid < first+count || first < 100000 {
			t.Errorf("uid_map %q has ids of the host, such as the user %d", outer, w.uid)
		}
		if uid, _ := uidOf(atoi(t, pid)); uid != first+1000 {
			t.Errorf("the program is uid %d of the host, want %d", uid, first+1000)
		}
	})
}

func TestRangesOfRootAreDisjoint(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		seen := map[string]bool{}
		for range 4 {
			name := w.detach(t, nil, "sleep", "60")
			raw, err := os.ReadFile("/proc/" + w.inspect(t, name, ".State.Pid") + "/uid_map")
			if err != nil {
				t.Fatal(err)
			}
			first := strings.Fields(string(raw))[1]
			if seen[first] || atoi(t, first)%65536 != 0 {
				t.Errorf("range at %s: taken %v", first, seen)
			}
			seen[first] = true
		}
	})
}

// Of the host's file systems, a sandbox has its root, which is an overlay of
// layers, and the three files that name it; nothing of the user's.
func TestHostIsOutOfReach(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		secret := filepath.Join(w.home, "secret")
		if err := os.WriteFile(secret, []byte("of the user's"), 0o644); err != nil { //nolint:gosec // anybody may read it
			t.Fatal(err)
		}
		for _, line := range lines(w.in(t, "cat /proc/self/mountinfo")) {
			before, after, _ := strings.Cut(line, " - ")
			f, kind := strings.Fields(before), strings.Fields(after)[0]
			at := f[4]
			switch kind {
			case "proc", "sysfs", "devpts", "mqueue", "cgroup2":
			case "overlay":
				if at != "/" {
					t.Errorf("overlay at %s", at)
				}
			case "tmpfs", "devtmpfs":
				known := []string{"/dev", "/tmp", "/home/sandbox", "/run", "/var/tmp", "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
				if !slices.Contains(known, at) && !strings.HasPrefix(at, "/proc/") && !strings.HasPrefix(at, "/sys/") && !strings.HasPrefix(at, "/dev/") {
					t.Errorf("mount %s", line)
				}
			default:
				if !strings.HasPrefix(at, "/dev/") { // device nodes of the host, for a user
					t.Errorf("mount of the host's %s: %s", kind, line)
				}
			}
			if strings.Contains(before, w.home) {
				t.Errorf("mount shows the host: %s", line)
			}
		}
		out := w.in(t, tries+fmt.Sprintf("try secret cat %s; try home ls %s; try escape cat /proc/1/root%s; try up cat /../../../..%s", secret, w.home, secret, secret), "--user", "root", "--cap-add", "ALL")
		const none = "No such file or directory"
		same(t, facts(out, "="), map[string]string{"secret": none, "home": none, "escape": none, "up": none})
	})
}

func TestNothingLeaksIn(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		cmd := w.cpc(t, "run", "--rm", "-e", "GIVEN=yes", base, "sh", "-c", `echo "$(ls /proc/self/fd | tr '\n' ' ')"; pwd; tr '\0' '\n' </proc/1/environ`)
		cmd.Env = append(cmd.Env, "SECRET_TOKEN=of-the-caller", "LD_PRELOAD=")
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		secret, err := os.Open("/etc/passwd")
		if err != nil {
			t.Fatal(err)
		}
		defer secret.Close()
		cmd.ExtraFiles = []*os.File{secret, null, secret}
		r := finish(t, cmd)
		got := lines(r.stdout)
		if r.code != 0 || len(got) < 3 {
			t.Fatalf("%+v", r)
		}
		if got[0] != "0 1 2 3 " { // 3 is the directory that ls reads
			t.Errorf("descriptors %q", got[0])
		}
		if got[1] != "/" {
			t.Errorf("working directory %q", got[1])
		}
		for _, e := range got[2:] {
			name, _, _ := strings.Cut(e, "=")
			if !slices.Contains([]string{"PATH", "HOSTNAME", "HOME", "GIVEN", "TERM"}, name) {
				t.Errorf("environment: %q", e)
			}
		}
		if strings.Contains(r.stdout, "SECRET") {
			t.Errorf("the caller's environment is inside: %s", r.stdout)
		}
	})
}

func TestDryRun(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		var spec specs.Spec
		out := w.must(t, "run", "--rm", "--dry-run", "--memory", "64m", base, "touch", "/tmp/x")
		if err := json.Unmarshal([]byte(out), &spec); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if spec.Version == "" || spec.Process == nil || !slices.Equal(spec.Process.Args, []string{"touch", "/tmp/x"}) || spec.Linux == nil ||
			spec.Linux.Seccomp == nil || len(spec.Linux.Namespaces) < 7 || spec.Root == nil || !spec.Root.Readonly {
			t.Errorf("config.json: %s", out)
		}
		if got := w.must(t, "ps", "-aq"); got != "" {
			t.Errorf("sandboxes %q", got)
		}
		w.leftovers(t)
	})
}
