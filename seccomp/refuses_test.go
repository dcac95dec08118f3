// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestRefuses(t *testing.T) {
	rule := func(a specs.LinuxSeccompAction, args []specs.LinuxSeccompArg, names ...string) specs.LinuxSyscall {
		return specs.LinuxSyscall{Action: a, Names: names, Args: args}
	}
	some := []specs.LinuxSeccompArg{{Index: 0, Value: 1, Op: specs.OpEqualTo}}
	for name, c := range map[string]struct {
		filter *specs.LinuxSeccomp
		want   bool
	}{
		"none":                {nil, false},
		"cpc's":               {Default(Options{}), true},
		"cpc's with all caps": {Default(Options{Caps: []string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}}), true},
		"allows by default":   {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, false},
		"refuses by default":  {&specs.LinuxSeccomp{DefaultAction: specs.ActErrno}, true},
		"allows one of them": {&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			rule(specs.ActAllow, some, "read", "keyctl"),
		}}, false},
		"asks a supervisor": {&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			rule(specs.ActNotify, nil, "add_key"),
		}}, false},
		"refuses all of them": {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			rule(specs.ActErrno, nil, "keyctl", "add_key"), rule(specs.ActKillProcess, nil, "request_key"),
		}}, true},
		"refuses some uses": {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			rule(specs.ActErrno, nil, "keyctl", "add_key"), rule(specs.ActErrno, some, "request_key"),
		}}, false},
		"logs by default": {&specs.LinuxSeccomp{DefaultAction: specs.ActLog}, false},
	} {
		if got := Refuses(c.filter, KeyCalls()...); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
