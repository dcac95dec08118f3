// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// Numbers of the kernel's interface, the same on all architectures here.
const (
	eperm  = 1
	enosys = 38

	eprotonosupport = 93
	eafnosupport    = 97

	afUnix       = 1
	afInet       = 2
	afInet6      = 10
	afNetlink    = 16
	netlinkRoute = 0

	tiocsti = 0x5412

	// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. CLONE_NEWTIME shares its
	// bit with the exit signal in clone, which therefore cannot take it.
	cloneNewNamespaces = 0x7e020000
)

// argumentGroups are calls that are allowed with some arguments only.
func argumentGroups() []Group {
	return []Group{
		{
			Topic: "new sockets", Reason: "the local machine, IP, and asking for addresses and routes; each other family is rarely audited kernel code",
			Names: []string{"socket"},
			Args: [][]specs.LinuxSeccompArg{
				{equal(0, afUnix)},
				{equal(0, afInet)},
				{equal(0, afInet6)},
				{equal(0, afNetlink), equal(2, netlinkRoute)},
			},
		},
		{
			Topic: "new processes and threads", Reason: "but not in new namespaces",
			Names: []string{"clone"},
			Args:  [][]specs.LinuxSeccompArg{{masked(0, cloneNewNamespaces, 0)}},
		},
		{
			Topic: "device control", Reason: "any but TIOCSTI, which types into the terminal's other sessions",
			Names: []string{"ioctl"},
			Args:  anyBut32(1, tiocsti),
		},
		{
			Topic: "personality", Reason: "Linux, 32-bit addresses, uname 2.6, and asking; not READ_IMPLIES_EXEC or ADDR_NO_RANDOMIZE",
			Names: []string{"personality"},
			Args: [][]specs.LinuxSeccompArg{
				{equal(0, 0x0)}, {equal(0, 0x8)}, {equal(0, 0x20000)}, {equal(0, 0x20008)}, {equal(0, 0xffffffff)},
			},
		},
	}
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: value, Op: specs.OpEqualTo}
}

// masked is true when the bits of mask in the argument are those of value.
func masked(index uint, mask, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}
}

// anyBut32 allows each value of a 32-bit argument but one, whatever the upper
// half of the register holds: one of the bits must differ. The low bits come
// first, as numbers close to the forbidden one differ there.
func anyBut32(index uint, value uint32) [][]specs.LinuxSeccompArg {
	alternatives := make([][]specs.LinuxSeccompArg, 0, 32)
	for bit := range 32 {
		mask := uint64(1) << bit
		alternatives = append(alternatives, []specs.LinuxSeccompArg{masked(index, mask, ^uint64(value)&mask)})
	}
	return alternatives
}

// Removed returns what the default profile keeps from every sandbox, whatever
// its capabilities, although docker's default grants it to some or all.
func Removed() []Group {
	return []Group{
		{
			Topic: "namespaces", Reason: "a new user namespace grants every capability over kernel code that is not hardened for it",
			Names: []string{"unshare", "setns"},
		},
		{
			Topic: "clone3", Reason: "its flags are in memory where a filter cannot see them; ENOSYS makes libraries use clone",
			Names: []string{"clone3"}, Errno: enosys,
		},
		{
			Topic: "mounts", Reason: "a sandbox's file system is fixed when it is made",
			Names: []string{
				"fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
				"open_tree_attr", "pivot_root", "umount", "umount2",
			},
		},
		{
			Topic: "keyrings", Reason: "keys are not confined by all namespaces",
			Names: []string{"add_key", "keyctl", "request_key"},
		},
		{
			Topic: "io_uring", Reason: "does what filters forbid, and has been the kernel's richest source of exploits",
			Names: []string{"io_uring_enter", "io_uring_register", "io_uring_setup"},
		},
		{
			// As a kernel without it says, which is what programs look for:
			// databases and web servers then use threads.
			Topic: "native asynchronous I/O", Reason: "its contexts are counted for the whole machine (fs.aio-max-nr): one sandbox could take them all",
			Names: []string{"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit"},
			Errno: enosys,
		},
		{
			Topic: "programs in the kernel", Reason: "bpf and performance events reach past the sandbox",
			Names: []string{"bpf", "perf_event_open"},
		},
		{
			Topic: "userfaultfd", Reason: "stops the kernel in the middle of copying, which makes its races winnable",
			Names: []string{"userfaultfd"},
		},
		{
			Topic: "kernel code and ports", Reason: "the machine itself",
			Names: []string{
				"create_module", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load",
				"kexec_load", "query_module", "swapoff", "swapon",
			},
		},
		{
			// Said by a rule of its own: libseccomp would otherwise allow the
			// socketcall counterparts of the socket calls that are allowed.
			Topic: "socketcall", Reason: "its arguments are in memory where a filter cannot see the family; 32-bit programs have had socket since Linux 4.3",
			Names: []string{"socketcall"}, Errno: enosys,
		},
	}
}
