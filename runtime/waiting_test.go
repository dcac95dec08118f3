// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The binary that waits for start as the container's init cannot be written from
// inside (CVE-2019-5736).
func TestCVE_2019_5736_Created(t *testing.T) {
	inBothWays(t, func(b *bench) {
		before, err := os.ReadFile(b.runtime)
		if err != nil {
			b.t.Fatal(err)
		}
		own := filepath.Join(b.dir, "cpc-runtime")
		if err := os.WriteFile(own, before, 0o777); err != nil {
			b.t.Fatal(err)
		}
		if err := os.Chown(own, int(b.base), int(b.base)); err != nil {
			b.t.Fatal(err)
		}
		b.runtime = own
		b.create("c1", b.spec("probe", "sleep"))
		var got map[string]string
		decode(b.t, b.must("exec", "c1", "probe", "overwrite", "/proc/1/exe").stdout, &got)
		if got["opened"] == "" || got["reopened"] == "" {
			b.t.Errorf("writing the binary of the init that waits: %v", got)
		}
		if after, err := os.ReadFile(own); err != nil || !bytes.Equal(after, before) {
			b.t.Errorf("the runtime's binary has changed (%v)", err)
		}
		b.must("start", "c1")
	})
}

// An init that waits for start has no descriptor or directory of the host's:
// whoever is in the container may look (CVE-2024-21626).
func TestCVE_2024_21626_Created(t *testing.T) {
	inBothWays(t, func(b *bench) {
		b.create("c1", b.spec("probe", "sleep"))
		pid := b.state("c1").Pid
		for _, link := range []string{"cwd", "root"} {
			if got, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/" + link); err != nil || got != "/" {
				b.t.Errorf("%s is %q (%v)", link, got, err)
			}
		}
		fds, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
		if err != nil || len(fds) < 3 {
			b.t.Fatalf("%v, %v", fds, err)
		}
		for _, fd := range fds {
			info, err := os.Stat(fd)
			var fs unix.Statfs_t
			if err != nil || unix.Statfs(fd, &fs) != nil {
				continue
			}
			if info.IsDir() && fs.Type != unix.PROC_SUPER_MAGIC {
				target, _ := os.Readlink(fd)
				b.t.Errorf("%s is the directory %s", fd, target)
			}
		}
		b.must("start", "c1")
	})
}

// What only libcontainer does, it does; and where a plan fails, it says why, and
// nothing of the first try is left.
func TestStartGivesUp(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.file("bin/plain", "", 0o644)
		spec := b.spec("probe", "sleep")
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/bin/../tmp", Type: "tmpfs", Source: "tmpfs"})
		b.create("c1", spec)
		if got := initThreads(b.state("c1").Pid); got != "more" {
			t.Errorf("a mount point that is to be cleaned: init has %s threads", got)
		}
		b.must("start", "c1")
		if r := b.must("exec", "c1", "probe", "echo", "alive"); r.stdout != "alive\n" {
			t.Errorf("%+v", r)
		}
		for _, tt := range []struct {
			change func(*specs.Spec)
			text   string
		}{
			{func(s *specs.Spec) { s.Process.Args[0] = "nosuch" }, `exec: "nosuch": executable file not found in $PATH`},
			{func(s *specs.Spec) { s.Process.Args[0] = "/bin/plain" }, `exec: "/bin/plain": permission denied`},
			{func(s *specs.Spec) { s.Process.Cwd = "/bin/probe/x" }, "not a directory"},
			{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.nosuch": "1"} }, "open sysctl net.nosuch file"},
			{func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/nosuch", Options: []string{"bind"}})
			}, "/nosuch"},
			{func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuch=1"}})
			}, "invalid argument"},
		} {
			spec := b.spec("probe", "sleep")
			tt.change(spec)
			b.write(spec)
			r := b.quiet("create", "c2")
			if r.code == 0 || !strings.Contains(r.stderr, tt.text) {
				t.Errorf("exit %d, %q; want %q", r.code, r.stderr, tt.text)
			}
			if path := spec.Linux.CgroupsPath; path != "" {
				if left, _ := filepath.Glob("/sys/fs/cgroup/*" + path); len(left) > 0 {
					t.Errorf("%s: left: %v", tt.text, left)
				}
			}
			if _, err := os.Stat(filepath.Join(b.states, "c2")); !os.IsNotExist(err) {
				t.Errorf("%s: the state is still there (%v)", tt.text, err)
			}
		}
	})
}
