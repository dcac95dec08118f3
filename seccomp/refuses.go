// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Refuses reports whether a filter lets none of the system calls happen, whatever
// their arguments are. In doubt it does not; no filter refuses nothing.
func Refuses(filter *specs.LinuxSeccomp, calls ...string) bool {
	if filter == nil {
		return false
	}
	for _, call := range calls {
		refused := refusing(filter.DefaultAction)
		for _, rule := range filter.Syscalls {
			switch {
			case !slices.Contains(rule.Names, call):
			case !refusing(rule.Action):
				return false
			case len(rule.Args) == 0:
				refused = true
			}
		}
		if !refused {
			return false
		}
	}
	return true
}

// refusing does not count a supervisor's answer, which may be to go on.
func refusing(a specs.LinuxSeccompAction) bool {
	return slices.Contains([]specs.LinuxSeccompAction{
		specs.ActErrno, specs.ActKill, specs.ActKillThread, specs.ActKillProcess, specs.ActTrap,
	}, a)
}

// KeyCalls are the system calls by which a program reaches keys and keyrings.
func KeyCalls() []string { return []string{"add_key", "keyctl", "request_key"} }
