// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// No descriptor outside of the root must serve as working directory
// (CVE-2024-21626), for the first process and for further ones.
func TestCVE_2024_21626(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		b.sleeper("sleeper")
		for fd := range 20 {
			cwd := "/proc/self/fd/" + strconv.Itoa(fd)
			spec := b.spec("probe", "look")
			spec.Process.Cwd = cwd
			results := []result{b.run(spec)}
			b.write(b.spec("probe", "sleep"))
			results = append(results, b.cli("exec", "--cwd", cwd, "sleeper", "probe", "look"))
			for _, r := range results {
				if r.code == 0 && !strings.Contains(r.stdout, `"cwd":"/proc`) {
					t.Errorf("cwd %s: %s", cwd, r.stdout)
				}
			}
		}
		// Nor does the caller's descriptor of a directory get in.
		root, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		for _, args := range [][]string{{"run", "c1"}, {"exec", "sleeper", "probe", "look"}} {
			b.write(b.spec("probe", "look"))
			cmd := exec.Command(b.runtime, append([]string{"--root", b.states}, args...)...)
			cmd.Dir, cmd.ExtraFiles = b.dir, []*os.File{root, root, root}
			out, err := cmd.Output()
			var v view
			if err == nil {
				err = json.Unmarshal(out, &v)
			}
			if err != nil || len(v.FDs) > 4 {
				t.Errorf("%v with descriptors of /: %v, %v", args, v.FDs, err)
			}
		}
	})
}

// The binary that runs in the container as its init cannot be written from
// there (CVE-2019-5736), not even when the container's root owns it.
func TestCVE_2019_5736(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		before, err := os.ReadFile(b.runtime)
		if err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(b.dir, "cpc-runtime")
		if err := os.WriteFile(own, before, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(own, int(b.base), int(b.base)); err != nil {
			t.Fatal(err)
		}
		b.runtime = own
		b.sleeper("sleeper")
		out := b.stolen("exec", "sleeper", "/proc/self/exe", "reaper", "--", "probe", "steal")
		var results []string
		decode(t, out, &results)
		if len(results) == 0 || slices.Contains(results, "") {
			t.Errorf("writing the runtime's binary from inside: %q", results)
		}
		if after, err := os.ReadFile(own); err != nil || string(after) != string(before) {
			t.Errorf("the runtime's binary has changed (%v)", err)
		}
	})
}

// stolen is the output of a process that outlives the runtime's child.
func (b *bench) stolen(args ...string) string {
	b.t.Helper()
	r := b.cli(args...) // returns when its output is closed
	if r.stdout == "" {
		b.t.Fatalf("%v: %+v", args, r)
	}
	return r.stdout
}

// link puts a symbolic link into the root file system, in place of anything.
func (b *bench) link(target, name string) {
	b.t.Helper()
	path := filepath.Join(b.dir, "rootfs", name)
	if err := os.RemoveAll(path); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		b.t.Fatal(err)
	}
}

// own gives the root file system to the container's root, so that permissions
// do not stand in an attack's way.
func (b *bench) own() {
	b.t.Helper()
	err := filepath.WalkDir(filepath.Join(b.dir, "rootfs"), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(b.base), int(b.base))
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// canary is a file outside of the root that must stay as it is.
type canary struct{ path, listing string }

func (b *bench) canary() *canary {
	b.t.Helper()
	dir := filepath.Join(b.dir, "outside")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("untouched"), 0o666); err != nil {
		b.t.Fatal(err)
	}
	for _, p := range []string{dir, path} { // open to everybody, whatever the umask
		if err := os.Chmod(p, 0o777); err != nil {
			b.t.Fatal(err)
		}
	}
	return &canary{path: path, listing: list(dir)}
}

// list describes a directory's files; that a test reads them does not show.
func list(dir string) string {
	out, _ := exec.Command("find", dir, "-printf", "%P %y %m %U %G %s %T@\n").CombinedOutput()
	return string(out)
}

func (c *canary) check(t *testing.T, what string) {
	t.Helper()
	if data, err := os.ReadFile(c.path); err != nil || string(data) != "untouched" {
		t.Errorf("%s: the file outside is %q (%v)", what, data, err)
	}
	if got := list(filepath.Dir(c.path)); got != c.listing {
		t.Errorf("%s: outside is\n%swas\n%s", what, got, c.listing)
	}
}

// withoutDev leaves /dev to the root file system, which the image controls.
func withoutDev(s *specs.Spec) {
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev" })
	s.Root.Readonly = false
}

// clearDev removes what an earlier container was given there.
func (b *bench) clearDev() {
	b.t.Helper()
	dev := filepath.Join(b.dir, "rootfs/dev")
	for _, err := range []error{os.RemoveAll(dev), os.MkdirAll(filepath.Join(dev, "pts"), 0o755)} {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// A /dev/null that is a link must not have another file mounted over a masked
// path.
func TestCVE_2025_31133(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		b.file("etc/marker", "marker", 0o666)
		for _, target := range []string{"/etc/marker", "../etc/marker", outside.path, "/proc/sys/kernel/core_pattern"} {
			b.clearDev()
			b.link(target, "dev/null")
			spec := b.spec("probe", "paths", "/proc/uptime")
			withoutDev(spec)
			spec.Linux.MaskedPaths = []string{"/proc/uptime"}
			b.own()
			r := b.run(spec)
			if r.code == 0 {
				var got map[string]seen
				decode(b.t, r.stdout, &got)
				if got["/proc/uptime"].Rdev != "1:3" {
					b.t.Errorf("/dev/null → %s: masked path %+v", target, got["/proc/uptime"])
				}
			}
			b.t.Logf("/dev/null → %s: exit %d %s", target, r.code, r.stderr)
			outside.check(b.t, target)
		}
		spec := b.spec("probe", "paths", "/proc/uptime")
		withoutDev(spec)
		checkMask(b, spec)
	})
}

// checkMask is the control of an attack on masked paths: the container that has
// all but the attack runs, its path is masked, and without the mask it is not.
func checkMask(b *bench, spec *specs.Spec) {
	b.t.Helper()
	for _, masked := range [][]string{{"/proc/uptime"}, nil} {
		spec.Linux.MaskedPaths = masked
		b.clearDev()
		b.own()
		r := b.run(spec)
		if r.code != 0 {
			b.t.Fatalf("without the attack, masked %q: exit %d %s", masked, r.code, r.stderr)
		}
		var got map[string]seen
		decode(b.t, r.stdout, &got)
		if is := got["/proc/uptime"].Rdev == "1:3"; is != (masked != nil) {
			b.t.Errorf("without the attack, masked %q: %+v", masked, got["/proc/uptime"])
		}
	}
}

// The same in a directory that is mounted on /dev, where no devices are made.
func TestCVE_2025_31133_Mounted(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		b.file("etc/marker", "marker", 0o666)
		for i, target := range []string{"/etc/marker", "/proc/sys/kernel/core_pattern", "/bin/probe"} {
			dev := filepath.Join(b.dir, "dev"+strconv.Itoa(i))
			if err := os.MkdirAll(filepath.Join(dev, "pts"), 0o755); err != nil {
				b.t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dev, "null")); err != nil {
				b.t.Fatal(err)
			}
			spec := b.spec("probe", "paths", "/proc/uptime")
			for i := range spec.Mounts {
				if spec.Mounts[i].Destination == "/dev" {
					spec.Mounts[i] = specs.Mount{Destination: "/dev", Type: "bind", Source: dev, Options: []string{"rbind"}}
				}
			}
			spec.Linux.MaskedPaths = []string{"/proc/uptime"}
			r := b.run(spec)
			if r.code == 0 {
				var got map[string]seen
				decode(b.t, r.stdout, &got)
				if got["/proc/uptime"].Rdev != "1:3" {
					b.t.Errorf("mounted /dev/null → %s: masked path %+v", target, got["/proc/uptime"])
				}
			}
			b.t.Logf("mounted /dev/null → %s: exit %d %s", target, r.code, r.stderr)
			outside.check(b.t, target)
		}
		checkMask(b, b.spec("probe", "paths", "/proc/uptime"))
	})
}

// A /dev/console that is a link must not have the terminal mounted elsewhere.
func TestCVE_2025_52565(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		b.file("etc/marker", "marker", 0o666)
		for i, target := range []string{"/etc/marker", outside.path, "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"} {
			b.clearDev()
			b.link(target, "dev/console")
			spec := b.spec("probe", "paths", "/etc/marker", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
			withoutDev(spec)
			spec.Process.Terminal = true
			b.write(spec)
			b.own()
			socket := filepath.Join(b.dir, "s"+strconv.Itoa(i))
			masters := console(b.t, socket)
			r := b.quiet("create", "--console-socket", socket, "c1")
			if r.code != 0 {
				b.t.Logf("/dev/console → %s: %s", target, r.stderr)
				outside.check(b.t, target)
				continue
			}
			master := <-masters
			if master == nil {
				b.t.Fatal("no terminal received")
			}
			b.must("start", "c1")
			var got map[string]seen
			decode(b.t, strings.TrimSpace(readLine(b.t, master)), &got)
			for path, file := range got {
				if strings.HasPrefix(path, "/") && file.Mode&0o170000 != 0o100000 {
					b.t.Errorf("/dev/console → %s: %s is no file any more: %+v", target, path, file)
				}
			}
			_ = master.Close()
			outside.check(b.t, target)
			b.must("delete", "--force", "c1")
		}
	})
}

// What is written to procfs must go to procfs: not to a file that a mount or
// the image has put there.
func TestCVE_2025_52881(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		fake := filepath.Join(b.dir, "fakeproc")
		for _, dir := range []string{"sys/net/ipv4", "self/attr", "thread-self/attr", "self/fd"} {
			if err := os.MkdirAll(filepath.Join(fake, dir), 0o777); err != nil {
				b.t.Fatal(err)
			}
		}
		for _, name := range []string{"sys/net/ipv4/ping_group_range", "self/attr/exec", "thread-self/attr/exec", "self/oom_score_adj"} {
			if err := os.Symlink(outside.path, filepath.Join(fake, name)); err != nil {
				b.t.Fatal(err)
			}
		}
		for _, m := range []specs.Mount{
			{Destination: "/proc", Type: "bind", Source: fake, Options: []string{"rbind"}},
			{Destination: "/proc/sys", Type: "bind", Source: filepath.Join(fake, "sys"), Options: []string{"rbind"}},
			{Destination: "/proc/self/attr", Type: "bind", Source: filepath.Join(fake, "self/attr"), Options: []string{"rbind"}},
			{Destination: "/proc/sys/net", Type: "tmpfs", Source: "tmpfs"},
		} {
			spec := b.spec("probe", "exit", "0")
			spec.Mounts = append(spec.Mounts, m)
			spec.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 0"}
			r := b.run(spec)
			if r.code == 0 {
				b.t.Errorf("%s mounted over: the container started", m.Destination)
			}
			b.t.Logf("%s: %s", m.Destination, r.stderr)
			outside.check(b.t, m.Destination)
		}
	})
}

// What another container could mount there in the right moment, a hook does.
func TestCVE_2025_52881_Late(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		const sysctl = "proc/sys/net/ipv4/ping_group_range"
		mount, err := exec.LookPath("mount")
		if err != nil {
			b.t.Fatal(err)
		}
		spec := b.spec("probe", "exit", "0")
		spec.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 0"}
		spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{
			Path: mount, Args: []string{"mount", "-n", "--bind", outside.path, filepath.Join(b.dir, "rootfs", sysctl)},
		}}}
		r := b.run(spec)
		b.t.Logf("mounted late: exit %d %s", r.code, r.stderr)
		if strings.Contains(r.stderr, "hook") {
			b.t.Errorf("the hook did not work: %s", r.stderr)
		}
		outside.check(b.t, "mounted late")
	})
}

// A root file system in which /dev, /proc, /sys or /etc is a link: what is made
// there stays inside of it.
func TestCVE_2026_41579(t *testing.T) {
	inBothWays(t, func(b *bench) {
		outside := b.canary()
		dir := filepath.Dir(outside.path)
		for _, name := range []string{"dev", "proc", "sys", "etc"} {
			for _, target := range []string{dir, "../outside", "../../../../../../.." + dir, "/", "/bin", "nosuch/../../outside", "/proc/self/cwd"} {
				b.link(target, name)
				spec := b.spec("probe", "exit", "0")
				spec.Root.Readonly = false
				spec.Mounts = append(spec.Mounts, specs.Mount{
					Destination: "/etc/hosts", Type: "bind", Source: "/etc/hostname", Options: []string{"bind", "ro"},
				})
				if name == "dev" {
					withoutDev(spec) // so that devices and links are made in what it names
				}
				b.own()
				r := b.run(spec)
				b.t.Logf("/%s → %s: exit %d %s", name, target, r.code, r.stderr)
				outside.check(b.t, "/"+name+" → "+target)
			}
			path := filepath.Join(b.dir, "rootfs", name)
			if err := os.Remove(path); err != nil {
				b.t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o755); err != nil {
				b.t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(filepath.Join(b.dir, "rootfs/bin/probe")); err != nil || !bytes.HasPrefix(data, []byte("\x7fELF")) {
			b.t.Errorf("the root file system is damaged: %v", err)
		}
	})
}

// exec --user takes numbers that are ids, and nothing else: a number that wraps
// around would be another user, at worst root.
func TestExecUserStrict(t *testing.T) {
	inSettings(t, func(b *bench) {
		b.sleeper("c1")
		for _, user := range []string{
			"root", "-1", "+1", "0x0", "1e3", " 0", "0 ", "1:", ":1", ":", "1:2:3", "0:root", "0:-1", "1_0", "4294967295", "4294967296",
			"18446744073709551616", "0:4294967295", "0:4294967296", "1000,0", "１",
		} {
			if r := b.cli("exec", "-u", user, "c1", "probe", "look"); r.code != 255 || !strings.Contains(r.stderr, "want UID[:GID]") {
				b.t.Errorf("--user %q: %+v", user, r)
			}
		}
		var v view
		decode(b.t, b.must("exec", "-u", "0:0", "c1", "probe", "look").stdout, &v)
		if v.UID != 0 || v.GID != 0 {
			b.t.Errorf("uid %d, gid %d", v.UID, v.GID)
		}
	})
}
