// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// deniedSockets are the rules for sockets that are not granted. They fail the
// way they do on a kernel that was built without them, so that programs go on
// without: libaudit, for one, aborts useradd upon EPERM, but takes
// EPROTONOSUPPORT for a system that keeps no audit log.
func deniedSockets() []specs.LinuxSyscall {
	family, protocol := uint(eafnosupport), uint(eprotonosupport)
	deny := func(errno *uint, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: errno, Args: args}
	}
	rules := []specs.LinuxSyscall{
		deny(&protocol, equal(0, afNetlink), specs.LinuxSeccompArg{Index: 2, Value: netlinkRoute, Op: specs.OpNotEqual}),
		deny(&family, specs.LinuxSeccompArg{Index: 0, Value: afNetlink, Op: specs.OpGreaterThan}),
	}
	for f := range uint64(afNetlink) {
		if f != afUnix && f != afInet && f != afInet6 {
			rules = append(rules, deny(&family, equal(0, f)))
		}
	}
	return rules
}
