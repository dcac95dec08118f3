// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWorkProfile looks from inside at what the profile work has that sandbox has not.
func TestWorkProfile(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err != nil {
		t.Fatal(err)
	}
	core := fmt.Sprint(min(256<<20, own.Max) / 512) // in the shell's blocks
	const script = tries + `
listen='socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(80, INADDR_LOOPBACK)) and listen(S, 1) or do { print STDERR "listen: $!\n"; exit 1 }'
cp /bin/true /tmp/program && try run /tmp/program
try port perl -MSocket -e "$listen"
echo "user=$(id -u)"
echo "start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
echo "shm=$(($(df -B1 --output=size /dev/shm | tail -n 1) >> 20))"
echo "core=$(ulimit -c)"
`
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		user := "1000"
		if w.mode == single {
			user = "0" // there is one id
		}
		name := w.name(t)
		same(t, facts(w.must(t, "run", "--name", name, "--profile", "work", base, "sh", "-c", script), "="), map[string]string{
			"run": "ok", "port": "ok", "user": user, "start": "0", "shm": "512", "core": core,
		})
		if got := w.inspect(t, name, ".Profile") + " " + w.inspect(t, name, ".HostConfig.PidsLimit"); got != "work 1024" {
			t.Errorf("inspect: profile and processes %s", got)
		}
		same(t, facts(w.must(t, "run", "--rm", base, "sh", "-c", script), "="), map[string]string{
			"run": "Permission denied", "port": "Permission denied", "user": user, "start": "1024", "shm": "64", "core": "0",
		})
	})
}

// TestWorkProfileAsRoot: what package managers do as root of a writable root file system
// works with the profile work, and only there.
func TestWorkProfileAsRoot(t *testing.T) {
	const script = tries + `
mkdir /srv/of && chown 33:33 /srv/of && (umask 077; echo x >/srv/of.file) && chown 33:33 /srv/of.file
try enter sh -c 'echo x >/srv/of/x'
try read cat /srv/of.file
try mode chmod 0755 /srv/of
`
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		for _, c := range []struct {
			options []string
			want    string
		}{
			{[]string{"--profile", "work"}, "ok"},
			{[]string{"--profile", "work", "--cap-drop", "DAC_OVERRIDE", "--cap-drop", "FOWNER"}, "Permission denied|Operation not permitted"},
			{nil, "Permission denied|Operation not permitted"},
		} {
			args := append([]string{"run", "--rm", "--user", "0", "--read-only=false"}, c.options...)
			got := facts(w.must(t, append(args, base, "sh", "-c", strings.ReplaceAll(script, "mkdir /srv/of", "mkdir -m 0755 /srv/of"))...), "=")
			same(t, got, map[string]string{"enter": c.want, "read": c.want, "mode": c.want})
		}
		// Where the root file system cannot be written, root has no more than before.
		got := w.must(t, "run", "--rm", "--user", "0", "--profile", "work", base, "grep", "CapBnd", "/proc/self/status")
		if fields := strings.Fields(got); len(fields) != 2 || !strings.HasSuffix(fields[1], "00c1") {
			t.Errorf("below a read-only root: %s", got)
		}
	})
}

// TestManyProcesses: work has room for more processes than the 100 of sandbox.
func TestManyProcesses(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		for profile, want := range map[string]string{"sandbox": "EAGAIN", "work": "ok"} {
			out := facts(w.must(t, "run", "--rm", "--profile", profile, w.probeImage(t), "/probe", "forks", "120"), "\t")
			if out["then"] != want {
				t.Errorf("%s: %v", profile, out)
			}
		}
	})
}
