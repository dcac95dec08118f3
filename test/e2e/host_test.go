// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// TestFullDisk gives cpc a data directory on a file system of 1 MiB, full or
// nearly, in a mount namespace of the test's own.
func TestFullDisk(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		o := newStore(t, w)
		small, large := filepath.Join(o.dir, "small.tar"), filepath.Join(o.dir, "large.tar")
		// Noise does not compress.
		noise := make([]byte, 4<<20)
		if f, err := os.Open("/dev/urandom"); err != nil {
			t.Fatal(err)
		} else if _, err = f.Read(noise); err != nil {
			t.Fatal(errors.Join(err, f.Close()))
		}
		if err := errors.Join(os.WriteFile(small, makeTar(t, entry{name: "f", data: "x"}), 0o600),
			os.WriteFile(large, makeTar(t, entry{name: "f", data: string(noise)}), 0o600), os.Mkdir(o.dir+"/data", 0o700)); err != nil {
			t.Fatal(err)
		}
		// The shell holds the mount namespace; each line is a check with its
		// name, which is printed when it fails.
		script := `
exec 2>&1
mount --make-rprivate /; mount -t tmpfs -o size=1m,mode=700 tmpfs "$CPC_DATA_DIR"; cd "$CPC_DATA_DIR"
bad() { echo "FAIL: $*"; }
left() { find . -type f ! -path './locks/*' ! -name index.json ! -name oci-layout; find scratch tmp sandboxes -mindepth 1 2>/dev/null; }
says() { echo "$out" | grep -qF -- "$1" || bad "does not say $1: $out"; }
out=$($CPC import "$LARGE" large:1 2>&1) && bad "large import succeeded"
says 'no space left on device'; says "$CPC_DATA_DIR"; says 'The disk is full: free some space'
[ -z "$(left)" ] || bad "left: $(left)"
[ -z "$($CPC images -q)" ] || bad "images: $($CPC images)"
$CPC import "$SMALL" small:1 >/dev/null || bad "small import after the large one"
before=$(left)
dd if=/dev/zero of=fill bs=4k 2>/dev/null
out=$($CPC import "$SMALL" other:1 2>&1) && bad "import succeeded on a full disk"
says 'no space left on device'
out=$($CPC tag small:1 other:1 2>&1) && bad "tag succeeded on a full disk"
says 'no space left on device'; says index.json
out=$($CPC build -q -t built "$CONTEXT" 2>&1) && bad "build succeeded on a full disk"
says 'no space left on device'
$CPC images | grep -q '^small' || bad "the image is not listed any more"
rm fill
[ "$(left)" = "$before" ] || bad "left: $(left)"
out=$($CPC run --rm small:1 /etc 2>&1); [ $? = 126 ] || bad "run after space was freed"
$CPC import "$SMALL" other:1 >/dev/null || bad "import after space was freed"
echo done
`
		context := filepath.Join(o.dir, "context")
		if err := errors.Join(os.Mkdir(context, 0o755), os.WriteFile(context+"/Dockerfile", []byte("FROM small:1\nCOPY noise /noise\n"), 0o600), //nolint:gosec // a build context
			os.WriteFile(context+"/noise", noise, 0o600)); err != nil {
			t.Fatal(err)
		}
		cmd := o.command("unshare", "--mount", "sh", "-c", script)
		cmd.Env = append(o.cpc().Env, "CPC="+o.bin, "SMALL="+small, "LARGE="+large, "CONTEXT="+context)
		if r := finish(t, cmd); r.stdout != "done\n" {
			t.Error(r.stdout)
		}
	})
}

// TestWithoutNewuidmap hides newuidmap: sandboxes have one id then, with a word
// on why and on what to install.
func TestWithoutNewuidmap(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		o := newStore(t, w)
		cmd := o.cpc("import", "-", base)
		tar, err := os.Open(theBed.baseTar)
		if err != nil {
			t.Fatal(err)
		}
		defer tar.Close()
		cmd.Stdin = tar
		cmd.Env = append(cmd.Env, "PATH=/nonexistent")
		if r := finish(t, cmd); r.code != 0 {
			t.Fatal(r.stderr)
		}
		cmd = o.cpc("run", "--rm", base, "id", "-u")
		cmd.Env = append(cmd.Env, "PATH=/nonexistent")
		r := finish(t, cmd)
		if r.code != 0 || r.stdout != "0\n" {
			t.Errorf("%+v", r)
		}
		for _, s := range []string{"cpc run: warning: the sandbox has one user id only: newuidmap and newgidmap are not installed", "sudo apt-get install uidmap"} {
			if !strings.Contains(r.stderr, s) {
				t.Errorf("does not say %q: %s", s, r.stderr)
			}
		}
		// With it again, the image serves: its layer is unpacked for that, too.
		if r := o.run(t, "run", "-q", "--rm", base, "id", "-u"); r.code != 0 || r.stdout != "1000\n" || r.stderr != "" {
			t.Errorf("with newuidmap again: %+v", r)
		}
		o.clean(t)
	})
}

// TestWithoutRange says what a user without subordinate ids lacks.
func TestWithoutRange(t *testing.T) {
	eachOf(t, []string{single}, func(t *testing.T, w *who) {
		_, stderr, code := w.run(t, "run", "--rm", base, "true")
		if code != 0 || !strings.Contains(stderr, "no subordinate id range") || !strings.Contains(stderr, "sudo usermod --add-subuids") {
			t.Errorf("exit status %d: %s", code, stderr)
		}
	})
}

// TestUserNamespacesDisabled forbids user namespaces, within one of the test's
// own: the limit is a user namespace's, and so does not reach the host.
func TestUserNamespacesDisabled(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		if os.Geteuid() != 0 {
			t.Skip("needs root to forbid user namespaces in one of its own")
		}
		o := newStore(t, w)
		script := `echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --reuid "$1" --regid "$2" --clear-groups "$3" import "$4" x`
		tar := filepath.Join(o.dir, "small.tar")
		if err := os.WriteFile(tar, makeTar(t, entry{name: "f"}), 0o644); err != nil { //nolint:gosec // for the caller
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", script, "sh", fmt.Sprint(w.uid), fmt.Sprint(w.gid), w.bin, tar)
		cmd.Env, cmd.Dir = o.cpc().Env, o.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: w.uid, HostID: w.uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: w.gid, HostID: w.gid, Size: 1}},
			// setpriv clears the groups.
			GidMappingsEnableSetgroups: true,
			Credential:                 &syscall.Credential{Uid: 0, Gid: 0},
		}
		r := finish(t, cmd)
		if r.code != 1 {
			t.Errorf("%+v", r)
		}
		for _, s := range []string{"cpc import: ", "does not let this user create user namespaces", "sysctl -w user.max_user_namespaces"} {
			if !strings.Contains(r.stderr, s) {
				t.Errorf("does not say %q: %s", s, r.stderr)
			}
		}
		o.clean(t)
		if limit, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(limit)) == "0" {
			t.Fatalf("the host's own limit is %q now (%v)", limit, err)
		}
	})
}

// TestRuntimeMissing runs a cpc that has no cpc-runtime beside it.
func TestRuntimeMissing(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o := newStore(t, w)
		alone := filepath.Join(o.dir, "cpc")
		// Not a copy: a file that a child forked meanwhile still has open for
		// writing cannot be executed.
		if err := os.Link(w.bin, alone); err != nil {
			t.Fatal(err)
		}
		cmd := o.cpc("run", "--rm", base, "true")
		cmd.Path = alone
		cmd.Env = append(cmd.Env, "PATH=/nonexistent")
		r := finish(t, cmd)
		if r.code != 125 || !strings.Contains(r.stderr, "cpc run: OCI runtime not found: cpc-runtime\nInstall cpc-runtime beside cpc") {
			t.Errorf("%+v", r)
		}
		o.clean(t)
	})
}

// TestDirectories gives cpc directories that it cannot use, and odd ones that
// it must use.
func TestDirectories(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		o := newStore(t, w)
		foreign := filepath.Join(o.dir, "foreign")
		closed := filepath.Join(o.dir, "closed")
		if err := errors.Join(os.Mkdir(foreign, 0o700), os.Mkdir(closed, 0o500), os.Chown(closed, w.uid, w.gid)); err != nil {
			t.Fatal(err)
		}
		without := func(names ...string) []string {
			return slices.DeleteFunc(w.env(), func(v string) bool {
				name, _, _ := strings.Cut(v, "=")
				return slices.Contains(names, name)
			})
		}
		for _, c := range []struct {
			name string
			env  []string
			says string
		}{
			{"relative", append(w.env(), "CPC_DATA_DIR=rel"), "directory rel: must be absolute"},
			{"no place for data", without("CPC_DATA_DIR", "HOME"), "neither CPC_DATA_DIR, XDG_DATA_HOME nor HOME is set"},
			{"home cannot be written to", append(without("CPC_DATA_DIR"), "HOME=/nonexistent"), "create directory /nonexistent/.local/share/cpc: mkdir /nonexistent: permission denied"},
			{"state read-only", append(w.env(), "CPC_STATE_DIR="+closed+"/state"), closed + "/state: permission denied"},
		} {
			cmd := w.command(w.bin, "run", "--rm", base, "true")
			cmd.Env = c.env
			if r := finish(t, cmd); r.code != 125 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
		if os.Geteuid() == 0 { // else there is no other user's
			for _, name := range []string{"CPC_DATA_DIR", "CPC_STATE_DIR"} {
				cmd := w.command(w.bin, "ps")
				cmd.Env = append(cmd.Env, name+"="+foreign)
				r := finish(t, cmd)
				if r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("directory %s: does not belong to uid %d; move it away or set", foreign, w.uid)) {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
		// Longer than the address of a socket can be.
		long := filepath.Join(o.dir, strings.Repeat("long", 40))
		for _, env := range [][]string{
			append(w.env(), "CPC_STATE_DIR="+long),
			append(without("XDG_RUNTIME_DIR", "CPC_STATE_DIR"), "TMPDIR="+o.dir),
			without("HOME"),
		} {
			w.detachExecRemove(t, env)
		}
	})
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		o := newStore(t, w)
		w.detachExecRemove(t, append(w.env(), "CPC_STATE_DIR="+filepath.Join(o.dir, strings.Repeat("long", 40))))
	})
}

// detachExecRemove sees a sandbox through its life with another environment.
func (w *who) detachExecRemove(t *testing.T, env []string) {
	t.Helper()
	w.cpc(t) // the base image is there
	name := w.name(t)
	for _, args := range [][]string{
		{"run", "-d", "--name", name, base, "sleep", "60"}, {"exec", name, "true"}, {"inspect", name}, {"rm", "-f", name},
	} {
		cmd := w.command(w.bin, args...)
		cmd.Env = env
		if r := finish(t, cmd); r.code != 0 {
			t.Errorf("cpc %s: %+v", strings.Join(args, " "), r)
		}
	}
}

// TestOddStreams closes standard streams, and fills the disk behind one.
func TestOddStreams(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		shell := func(script string) result {
			cmd := w.command("sh", "-c", script, w.bin, w.bin)
			cmd.Env = append(cmd.Env, "BASE="+base)
			return finish(t, cmd)
		}
		w.cpc(t) // the base image is there
		for _, script := range []string{
			`"$1" run --rm $BASE echo hi >&-`, `"$1" run --rm $BASE cat <&-`, `"$1" run --rm -i $BASE cat <&-`,
			`"$1" run --rm $BASE sh -c 'echo a >&2' 2>&-`, `"$1" run --rm $BASE echo hi <&- >&- 2>&-`, `"$1" images >&-`,
			`id=$("$1" run -d $BASE sleep 60 <&- 2>&-) && "$1" rm -f $id`,
		} {
			if r := shell(script); r.code != 0 {
				t.Errorf("%s: %+v", script, r)
			}
		}
		for _, args := range []string{
			"run --rm $BASE echo hi", "run --rm $BASE sh -c 'while echo y; do :; done'", "run --dry-run $BASE", "images", "images --json", "ps", "ps --json",
			"inspect $BASE", "version", "--version", "run -d $BASE true",
		} {
			r := shell(`"$1" ` + args + " >/dev/full")
			if r.code == 0 || !strings.Contains(r.stderr, "no space left on device") {
				t.Errorf("%s >/dev/full: %+v", args, r)
			}
		}
		// A reader that goes away ends the writer as it ends any other, and
		// the sandbox with it.
		r := shell(`{ "$1" run --rm $BASE sh -c 'while echo y; do :; done'; echo $? >&2; } | head -c 10`)
		if !strings.HasSuffix(r.stderr, "141\n") {
			t.Errorf("a pipe without a reader: %+v", r)
		}
		w.clear(t)
		testkit.Eventually(t, 5*time.Second, "no sandbox is left", func() bool { return len(w.findLeftovers(nil)) == 0 })
	})
}
