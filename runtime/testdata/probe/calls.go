// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

func notify(c chan os.Signal) { signal.Notify(c, unix.SIGUSR1, unix.SIGTERM) }

// call makes a system call and returns its errno, 0 for success.
func call(nr, a, b, c, d, e uintptr) unix.Errno {
	r, _, err := unix.RawSyscall6(nr, a, b, c, d, e, 0)
	if err == 0 && r == 0 && (nr == unix.SYS_CLONE || nr == unix.SYS_CLONE3) {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // a child that must not be
	}
	return err
}

// calls tries system calls with harmless arguments.
func calls() map[string]int {
	const none = ^uintptr(0)
	empty := [1]byte{}
	path := uintptr(unsafe.Pointer(&empty))
	var ring [120]byte
	clone3 := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}
	results := map[string]int{}
	try := func(name string, nr, a, b, c, d, e uintptr) { results[name] = int(call(nr, a, b, c, d, e)) }

	try("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, 0, 0)
	try("unshare net", unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0, 0, 0)
	try("setns", unix.SYS_SETNS, none, 0, 0, 0, 0)
	try("clone user", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	try("clone pid", unix.SYS_CLONE, unix.CLONE_NEWPID|uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	try("clone high bits", unix.SYS_CLONE, 1<<40|unix.CLONE_NEWNS|uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	try("clone3", unix.SYS_CLONE3, uintptr(unsafe.Pointer(&clone3)), unsafe.Sizeof(clone3), 0, 0, 0)
	try("mount", unix.SYS_MOUNT, path, path, path, 0, 0)
	try("umount2", unix.SYS_UMOUNT2, path, 0, 0, 0, 0)
	try("move_mount", unix.SYS_MOVE_MOUNT, none, path, none, path, 0)
	try("open_tree", unix.SYS_OPEN_TREE, none, path, 0, 0, 0)
	try("fsopen", unix.SYS_FSOPEN, path, 0, 0, 0, 0)
	try("fsconfig", unix.SYS_FSCONFIG, none, 0, 0, 0, 0)
	try("fsmount", unix.SYS_FSMOUNT, none, 0, 0, 0, 0)
	try("fspick", unix.SYS_FSPICK, none, path, 0, 0, 0)
	try("mount_setattr", unix.SYS_MOUNT_SETATTR, none, path, 0, 0, 0)
	try("pivot_root", unix.SYS_PIVOT_ROOT, path, path, 0, 0, 0)
	try("chroot", unix.SYS_CHROOT, path, 0, 0, 0, 0)
	try("keyctl", unix.SYS_KEYCTL, 0, none-2, 0, 0, 0)
	try("add_key", unix.SYS_ADD_KEY, path, path, 0, 0, 0)
	try("request_key", unix.SYS_REQUEST_KEY, path, path, 0, 0, 0)
	try("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&ring)), 0, 0, 0)
	try("io_uring_enter", unix.SYS_IO_URING_ENTER, none, 0, 0, 0, 0)
	try("io_uring_register", unix.SYS_IO_URING_REGISTER, none, 0, 0, 0, 0)
	try("bpf", unix.SYS_BPF, none, 0, 0, 0, 0)
	try("userfaultfd", unix.SYS_USERFAULTFD, 1, 0, 0, 0, 0)
	try("perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0, none, none, 0)
	try("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0, 0)
	try("init_module", unix.SYS_INIT_MODULE, 0, 0, path, 0, 0)
	try("finit_module", unix.SYS_FINIT_MODULE, none, path, 0, 0, 0)
	try("delete_module", unix.SYS_DELETE_MODULE, path, 0, 0, 0, 0)
	try("process_vm_readv", unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid()), 0, 0, 0, 0)
	try("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, uintptr(os.Getpid()), 0, 0, 0, 0)
	try("swapon", unix.SYS_SWAPON, path, 0, 0, 0, 0)
	try("socket packet", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0, 0, 0)
	try("socket vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0, 0, 0)
	try("socket alg", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0, 0, 0)
	try("socket netfilter", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, 0, 0)
	try("socket audit", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT, 0, 0)
	try("socket high bits", unix.SYS_SOCKET, 1<<32|unix.AF_PACKET, unix.SOCK_RAW, 0, 0, 0)
	try("personality 0x400000", unix.SYS_PERSONALITY, 0x0400000, 0, 0, 0, 0)
	try("ioctl TIOCSTI", unix.SYS_IOCTL, 0, unix.TIOCSTI, path, 0, 0)
	try("ioctl TIOCSTI high bits", unix.SYS_IOCTL, 0, 1<<32|unix.TIOCSTI, path, 0, 0)

	try("ok socket unix", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0, 0, 0)
	try("ok socket inet", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0, 0, 0)
	try("ok socket inet6", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_DGRAM, 0, 0, 0)
	try("ok socket route", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, 0, 0)
	try("ok personality ask", unix.SYS_PERSONALITY, 0xffffffff, 0, 0, 0, 0)
	try("ok getpid", unix.SYS_GETPID, 0, 0, 0, 0, 0)
	try("ok seccomp ask", unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	var winsize [4]uint16
	for name, request := range map[string]uintptr{
		"TIOCGWINSZ": unix.TIOCGWINSZ, "TCGETS": unix.TCGETS, "sign-extended": ^uintptr(0x7fffffff) | unix.TIOCGPTN&0x7fffffff,
		"zero": 0, "TIOCSTI-1": unix.TIOCSTI - 1, "TIOCSTI+1": unix.TIOCSTI + 1,
	} {
		try("notty ioctl "+name, unix.SYS_IOCTL, 0, request, uintptr(unsafe.Pointer(&winsize)), 0, 0)
	}
	try("nosys 4000", 4000, 0, 0, 0, 0, 0)
	return results
}
