// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/seccomp"
)

// What the kernel tells of a process that differs from one to the next.
var passing = regexp.MustCompile(`(?m)^(Name|FDSize|State|Pid|Tgid|NSpid|NStgid|NSpgid|NSsid|Vm\w+|Rss\w+|HugetlbPages|Threads|SigQ|SigBlk|\w*ctxt_switches|CoreDumping|Mems_allowed\w*):.*\n`)

// A further process is the same, whether the quick way or libcontainer made it.
// With --debug it is always the latter.
func TestExecSame(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		umask, oom := uint32(0o27), 500
		spec := b.spec("/bin/probe", "sleep")
		spec.Process.User.Umask, spec.Process.OOMScoreAdj = &umask, &oom
		spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}, {Type: "RLIMIT_CORE"}}
		spec.Linux.Seccomp = seccomp.Default(seccomp.Options{})
		spec.Process.Env = []string{"PATH=/nosuch:/bin", "A=1", "A=2"}
		b.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:u:/home/user:/bin/sh\n", 0o644)
		b.create("c1", spec)
		b.must("start", "c1")
		if err := os.RemoveAll(filepath.Join(b.states, "@filters")); err != nil {
			t.Fatal(err)
		}
		ways := [][]string{nil, {"--cwd", "/tmp", "--env", "HOME=/h", "--no-new-privs=false"}, {"--cap", "CAP_KILL", "--cap", "CAP_NET_RAW"}}
		if b.size > 1 {
			ways = append(ways, []string{"-u", "1000:1001", "-g", "5", "-g", "7"}, []string{"-u", "4000"})
		}
		cat := []string{"c1", "probe", "cat"}
		for _, file := range []string{"status", "limits", "oom_score_adj", "cgroup", "environ", "cmdline", "uid_map", "gid_map", "setgroups", "attr/current"} {
			cat = append(cat, "/proc/self/"+file)
		}
		look := []string{"c1", "probe", "look"}
		for _, way := range ways {
			whats := [][]string{cat, look}
			if way != nil {
				whats = whats[:1]
			}
			for _, what := range whats {
				args := append(append([]string{"exec"}, way...), what...)
				slow, quick := b.must(append([]string{"--debug"}, args...)...), b.must(args...)
				if !strings.Contains(slow.stderr, "child process in init()") {
					t.Fatalf("not libcontainer: %s", slow.stderr)
				}
				if s, q := same(slow.stdout), same(quick.stdout); s != q {
					t.Errorf("%v: libcontainer\n%s\nquick\n%s", args, s, q)
				}
			}
		}
		if kept, err := os.ReadDir(filepath.Join(b.states, "@filters")); err != nil || len(kept) != 1 {
			t.Errorf("the quick way was not taken: %v, %v", kept, err)
		}
	})
}

func same(text string) string {
	text = passing.ReplaceAllString(text, "")
	return regexp.MustCompile(`pipe:\[\d+\]|"(Name|FDSize|State|N?S?[PT]g?id|NSpid|NStgid|NSpgid|NSsid|Vm\w+|Rss\w+|HugetlbPages|Threads|SigQ|SigBlk|\w*ctxt_switches|Mems_allowed\w*|pid|pgid)":("[^"]*"|\d+),?`).ReplaceAllString(text, "")
}

// Where the quick way gives up, libcontainer words the error, and the container
// goes on.
func TestExecGivesUp(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		b.file("bin/garbage", "garbage", 0o755)
		b.file("bin/plain", "", 0o644)
		b.sleeper("c1")
		for _, tt := range []struct {
			args []string
			code int
			text string
		}{
			{[]string{"c1", "nosuch"}, 127, `exec: "nosuch": executable file not found in $PATH`},
			{[]string{"c1", "/bin/nosuch"}, 127, `exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory`},
			{[]string{"c1", "/bin/plain"}, 126, `exec: "/bin/plain": permission denied`},
			{[]string{"c1", "/bin"}, 126, `exec: "/bin": is a directory: permission denied`},
			{[]string{"c1", "garbage"}, 126, `exec: "garbage": neither a program for this machine nor a script that begins with #!: exec format error`},
			{[]string{"--cwd", "/bin/probe/x", "c1", "probe"}, 255, "not a directory"},
			{[]string{"-e", "PATH=bin", "c1", "probe"}, 255, ""},
			{[]string{"-e", "novalue", "c1", "probe"}, 255, "invalid environment variable"},
		} {
			r := b.cli(append([]string{"exec"}, tt.args...)...)
			if r.code != tt.code || !strings.Contains(r.stderr, tt.text) {
				t.Errorf("%v: exit %d, %q; want %d, %q", tt.args, r.code, r.stderr, tt.code, tt.text)
			}
		}
		if r := b.must("exec", "c1", "probe", "echo", "alive"); r.stdout != "alive\n" {
			t.Errorf("afterwards: %+v", r)
		}
	})
}
