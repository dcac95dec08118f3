// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/golden"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/seccomp"
)

func TestDefaultGolden(t *testing.T) {
	for name, o := range map[string]seccomp.Options{
		"default-amd64.json":      {Arch: "amd64", Caps: []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}},
		"default-arm64.json":      {Arch: "arm64"},
		"default-amd64-caps.json": {Arch: "amd64", Caps: []string{"CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE"}},
	} {
		golden.JSON(t, name, seccomp.Default(o))
	}
}

// The table is consistent: every call is in one group, has a reason, and what
// is removed is not allowed by any other way, with all capabilities.
func TestTable(t *testing.T) {
	seen := map[string]string{}
	for _, g := range append(seccomp.Allowed(), seccomp.Removed()...) {
		if g.Topic == "" || g.Reason == "" || len(g.Names) == 0 {
			t.Errorf("group %+v is incomplete", g)
		}
		for _, name := range g.Names {
			if other, twice := seen[name]; twice {
				t.Errorf("%s is in %q and in %q", name, other, g.Topic)
			}
			seen[name] = g.Topic
		}
	}
	var caps []string
	for _, g := range seccomp.Allowed() {
		caps = append(caps, g.Caps...)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		profile := seccomp.Default(seccomp.Options{Arch: arch, Caps: caps})
		for _, g := range seccomp.Removed() {
			for _, rule := range profile.Syscalls {
				if rule.Action == specs.ActAllow && slices.ContainsFunc(g.Names, func(n string) bool { return slices.Contains(rule.Names, n) }) {
					t.Errorf("%s: %v is allowed and removed", arch, rule.Names)
				}
			}
		}
	}
}

func TestDefaultCaps(t *testing.T) {
	allows := func(name string, caps ...string) bool {
		profile := seccomp.Default(seccomp.Options{Arch: "amd64", Caps: caps})
		return slices.ContainsFunc(profile.Syscalls, func(r specs.LinuxSyscall) bool {
			return r.Action == specs.ActAllow && slices.Contains(r.Names, name)
		})
	}
	for _, tt := range []struct {
		name string
		caps []string
		want bool
	}{
		{"read", nil, true},
		{"ptrace", nil, true},
		{"chroot", nil, false},
		{"chroot", []string{"CAP_SYS_CHROOT"}, true},
		{"process_vm_readv", []string{"CAP_SYS_ADMIN"}, false},
		{"process_vm_readv", []string{"CAP_SYS_PTRACE"}, true},
		{"mount", []string{"CAP_SYS_ADMIN"}, false},
		{"unshare", []string{"CAP_SYS_ADMIN"}, false},
		{"cacheflush", nil, false},
	} {
		if got := allows(tt.name, tt.caps...); got != tt.want {
			t.Errorf("%s with %v: %v, want %v", tt.name, tt.caps, got, tt.want)
		}
	}
}

const sample = `{
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": 1,
  "archMap": [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
  ],
  "syscalls": [
    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
    {"name": "ptrace", "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"minKernel": "4.8"}},
    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}]},
    {"names": ["arm_sync_file_range"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
     "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
  ]
}`

func TestFromDocker(t *testing.T) {
	for name, tt := range map[string]struct {
		options seccomp.Options
		want    string
	}{
		"amd64":      {seccomp.Options{Arch: "amd64", Kernel: "6.1.0"}, "read ptrace personality arch_prctl clone clone3"},
		"old kernel": {seccomp.Options{Arch: "amd64", Kernel: "4.7.9-x"}, "read personality arch_prctl clone clone3"},
		"arm64":      {seccomp.Options{Arch: "arm64", Kernel: "6.12"}, "read ptrace personality arm_sync_file_range clone clone3"},
		"s390x":      {seccomp.Options{Arch: "s390x", Kernel: "6.12"}, "read ptrace personality clone3"},
		"admin":      {seccomp.Options{Arch: "amd64", Kernel: "6.1", Caps: []string{"CAP_SYS_ADMIN"}}, "read ptrace personality arch_prctl mount"},
	} {
		profile, err := seccomp.FromDocker(strings.NewReader(sample), tt.options)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, rule := range profile.Syscalls {
			got = append(got, rule.Names[0])
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
	profile, err := seccomp.FromDocker(strings.NewReader(sample), seccomp.Options{Arch: "arm64"})
	if err != nil || !slices.Equal(profile.Architectures, []specs.Arch{specs.ArchAARCH64, specs.ArchARM}) {
		t.Errorf("architectures %v, %v", profile.Architectures, err)
	}
}

func TestFromDockerRefuses(t *testing.T) {
	rule := func(r string) string { return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + r + `]}` }
	for profile, want := range map[string]string{
		``:                                      "it ends too early",
		`[]`:                                    "must be an object, not a list",
		`{}`:                                    `unknown action ""`,
		`{"defaultAction":"X"}`:                 `unknown action "X"`,
		`{"defaultActoin":"X"}`:                 "unknown field",
		`{"defaultAction":"SCMP_ACT_NOTIFY"}`:   "notification",
		`{"defaultAction":"SCMP_ACT_ALLOW"} {}`: "follows",
		`{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}`:                                                            "errnoRet",
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}`:                                                         "larger",
		`{"defaultAction":"SCMP_ACT_ERRNO","flags":["X"]}`:                                                                  "unknown flag",
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["X"]}`:                                                          "unknown architecture",
		`{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}`:                                                            "notification",
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}`: "only one",
		rule(`{"action":"SCMP_ACT_ALLOW"}`):                                                                                 "names: empty",
		rule(`{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}`):                                                        "only one",
		rule(`{"names":["../x"],"action":"SCMP_ACT_ALLOW"}`):                                                                "no system call",
		rule(`{"names":["read"],"action":"SCMP_ACT_MAYBE"}`):                                                                "unknown action",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","arg":[]}`):                                                       "unknown field",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}`):              "index 6",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"EQ"}]}`):                       "unknown operator",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"value":1,"op":"SCMP_CMP_EQ"}]}`):                        "required",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[null]}`):                                                  "required",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"new"}}`):                                 "minKernel",
		rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"cap":["X"]}}`):                                       "unknown field",
		strings.Repeat(" ", 1<<20) + `{"defaultAction":"SCMP_ACT_ERRNO"}`:                                                   "larger than",
	} {
		_, err := seccomp.FromDocker(strings.NewReader(profile), seccomp.Options{Kernel: "6.1"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", profile, err, want)
		}
	}
}

func TestFromDockerReadError(t *testing.T) {
	if _, err := seccomp.FromDocker(broken{}, seccomp.Options{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, os.ErrClosed }

func FuzzFromDocker(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_LOG","args":[null]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		profile, err := seccomp.FromDocker(strings.NewReader(string(data)), seccomp.Options{Arch: "amd64", Kernel: "6.1"})
		if err != nil {
			return
		}
		if profile.DefaultAction == "" || profile.DefaultAction == specs.ActNotify {
			t.Errorf("default action %q", profile.DefaultAction)
		}
		for _, rule := range profile.Syscalls {
			if len(rule.Names) == 0 || rule.Action == "" || len(rule.Args) > 6 {
				t.Errorf("rule %+v", rule)
			}
		}
	})
}
