// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// int80 makes a system call by the 32-bit interface.
func int80(nr, a, b, c uint32) int32

// calls32 tries system calls by their i386 numbers.
func calls32() map[string]int {
	results := map[string]int{}
	for name, c := range map[string][4]uint32{
		"socketcall":         {102, 1, 0, 0},
		"socketcall bind":    {102, 2, 0, 0},
		"socketcall connect": {102, 3, 0, 0},
		"socket vsock":       {359, unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		"socket packet":      {359, unix.AF_PACKET, unix.SOCK_RAW, 0},
		"unshare":            {310, unix.CLONE_NEWUSER, 0, 0},
		"setns":              {346, 0xffffffff, 0, 0},
		"mount":              {21, 0, 0, 0},
		"umount":             {22, 0, 0, 0},
		"keyctl":             {288, 0, 0xfffffffd, 0},
		"bpf":                {357, 0xffffffff, 0, 0},
		"clone user":         {120, unix.CLONE_NEWUSER | uint32(unix.SIGCHLD), 0, 0},
		"ioctl TIOCSTI":      {54, 0, unix.TIOCSTI, 0},
		"clone3":             {435, 0, 0, 0},
		"ok socket unix":     {359, unix.AF_UNIX, unix.SOCK_STREAM, 0},
		"ok getpid":          {20, 0, 0, 0},
		"notty ioctl TCGETS": {54, 0, unix.TCGETS, 0},
	} {
		r := int80(c[0], c[1], c[2], c[3])
		results[name] = int(-min(r, 0))
		if c[0] == 120 && r == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return results
}

// callsx32 makes one system call by the x32 interface.
func callsx32() map[string]int {
	return map[string]int{"x32 unshare": int(call(0x40000000|unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, 0, 0))}
}
