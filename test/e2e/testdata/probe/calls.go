// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call. A child that it makes ends at once.
func call(nr, a, b, c, d, e uintptr) error {
	r, _, err := unix.RawSyscall6(nr, a, b, c, d, e, 0)
	if err != 0 {
		return err
	}
	if r == 0 && (nr == unix.SYS_CLONE || nr == unix.SYS_CLONE3) {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

// calls tries system calls that a sandbox has no use for. With the arguments
// that they are given they do no harm where they are not refused.
func calls() {
	const none = ^uintptr(0)
	const child = uintptr(unix.SIGCHLD)
	empty := [1]byte{}
	path := uintptr(unsafe.Pointer(&empty))
	var ring [120]byte
	clone3 := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}

	spaces := []struct {
		name string
		flag uintptr
	}{
		{"user", unix.CLONE_NEWUSER}, {"mount", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP},
	}
	for _, s := range spaces {
		say("unshare "+s.name, call(unix.SYS_UNSHARE, s.flag, 0, 0, 0, 0))
		say("clone "+s.name, call(unix.SYS_CLONE, s.flag|child, 0, 0, 0, 0))
	}
	say("unshare time", call(unix.SYS_UNSHARE, unix.CLONE_NEWTIME, 0, 0, 0, 0))
	say("clone3 user", call(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&clone3)), unsafe.Sizeof(clone3), 0, 0, 0))
	for _, kind := range []string{"user", "mnt", "pid", "net"} {
		ns, err := unix.Open("/proc/self/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = call(unix.SYS_SETNS, uintptr(ns), 0, 0, 0, 0)
		}
		say("setns "+kind, err)
	}

	say("mount", mountAt("tmpfs", "/tmp", "tmpfs", 0))
	say("mount remount", mountAt("", "/", "", unix.MS_REMOUNT|unix.MS_BIND))
	say("mount cgroup", mountAt("cgroup", "/tmp", "cgroup", 0))
	say("mount proc", mountAt("proc", "/tmp", "proc", 0))
	say("umount", unix.Unmount("/tmp", unix.MNT_DETACH))
	say("move_mount", call(unix.SYS_MOVE_MOUNT, none, path, none, path, 0))
	say("open_tree", call(unix.SYS_OPEN_TREE, none, path, 0, 0, 0))
	say("fsopen", call(unix.SYS_FSOPEN, path, 0, 0, 0, 0))
	say("fspick", call(unix.SYS_FSPICK, none, path, 0, 0, 0))
	say("mount_setattr", call(unix.SYS_MOUNT_SETATTR, none, path, 0, 0, 0))
	say("pivot_root", unix.PivotRoot("/tmp", "/tmp"))
	say("chroot", unix.Chroot("/tmp"))

	say("keyctl", call(unix.SYS_KEYCTL, 0, none-2, 0, 0, 0))
	say("add_key", call(unix.SYS_ADD_KEY, path, path, 0, 0, 0))
	say("request_key", call(unix.SYS_REQUEST_KEY, path, path, 0, 0, 0))
	say("bpf", call(unix.SYS_BPF, none, 0, 0, 0, 0))
	say("userfaultfd", call(unix.SYS_USERFAULTFD, 1, 0, 0, 0, 0))
	say("perf_event_open", call(unix.SYS_PERF_EVENT_OPEN, 0, 0, none, none, 0))
	say("io_uring_setup", call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&ring)), 0, 0, 0))
	say("kexec_load", call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0, 0))
	say("init_module", call(unix.SYS_INIT_MODULE, 0, 0, path, 0, 0))
	say("finit_module", call(unix.SYS_FINIT_MODULE, none, path, 0, 0, 0))
	say("delete_module", call(unix.SYS_DELETE_MODULE, path, 0, 0, 0, 0))
	say("open_by_handle_at", call(unix.SYS_OPEN_BY_HANDLE_AT, none, path, 0, 0, 0))
	say("process_vm_readv", call(unix.SYS_PROCESS_VM_READV, 1, 0, 0, 0, 0))
	say("swapon", call(unix.SYS_SWAPON, path, 0, 0, 0, 0))
	say("reboot", call(unix.SYS_REBOOT, 0, 0, 0, 0, 0))
	say("settimeofday", call(unix.SYS_SETTIMEOFDAY, none, 0, 0, 0, 0))
	say("syslog", call(unix.SYS_SYSLOG, 3, 0, 0, 0, 0))
	say("quotactl", call(unix.SYS_QUOTACTL, none, 0, 0, 0, 0))
	say("acct", call(unix.SYS_ACCT, path, 0, 0, 0, 0))
	say("TIOCSTI", call(unix.SYS_IOCTL, 0, unix.TIOCSTI, path, 0, 0))
	say("TIOCSTI high bits", call(unix.SYS_IOCTL, 0, 1<<32|unix.TIOCSTI, path, 0, 0))
	say("TIOCLINUX", call(unix.SYS_IOCTL, 0, 0x541c, path, 0, 0))
	sockets()
}

func mountAt(source, target, kind string, flags uintptr) error {
	return unix.Mount(source, target, kind, flags, "")
}

// sockets tries one of each kind of socket that the kernel may have.
func sockets() {
	try := func(name string, family, kind, protocol int) {
		fd, err := unix.Socket(family, kind, protocol)
		say("socket "+name, err)
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	for family := range 48 {
		if family == unix.AF_UNIX || family == unix.AF_INET || family == unix.AF_INET6 || family == unix.AF_NETLINK {
			continue
		}
		try(fmt.Sprintf("family %d", family), family, unix.SOCK_DGRAM, 0)
	}
	for protocol := 1; protocol < 24; protocol++ {
		try(fmt.Sprintf("netlink %d", protocol), unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	}
	try("raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	try("ok unix", unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("ok inet", unix.AF_INET, unix.SOCK_STREAM, 0)
	try("ok inet6", unix.AF_INET6, unix.SOCK_DGRAM, 0)
	try("ok route", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
}

// files tries to make and to open what would reach out of a sandbox.
func files() {
	const device = 1<<8 | 3 // /dev/null
	say("mknod char", unix.Mknod("/tmp/char", unix.S_IFCHR|0o600, device))
	say("mknod block", unix.Mknod("/tmp/block", unix.S_IFBLK|0o600, 8<<8))
	say("mknod fifo", unix.Mknod("/tmp/fifo", unix.S_IFIFO|0o600, 0))
	for _, f := range []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/hostname", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper",
		"/sys/power/state", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/dev/loop-control", "/dev/fuse",
	} {
		open("write "+f, f, os.O_WRONLY)
	}
	for _, f := range []string{
		"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts", "/sys/firmware/acpi",
	} {
		open("read "+f, f, os.O_RDONLY)
	}
}

// open says how an attempt to open and read or write a file ends. What can be
// read and is empty is as good as refused.
func open(name, file string, flag int) {
	f, err := os.OpenFile(file, flag, 0)
	if err != nil {
		say(name, err)
		return
	}
	defer f.Close()
	if flag != os.O_RDONLY {
		say(name, nil)
		return
	}
	n, err := f.Read(make([]byte, 64))
	if n == 0 {
		fmt.Printf("%s\tempty\n", name)
		return
	}
	say(name, err)
}
