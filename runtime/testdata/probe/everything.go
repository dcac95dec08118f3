// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// everything prints, as text to compare, all that a start decides of a process and
// of its root file system. What differs from one start to the next is left out.
func everything() {
	for _, name := range []string{"limits", "oom_score_adj", "cgroup", "cmdline", "environ", "uid_map", "gid_map", "setgroups", "timens_offsets", "attr/current", "personality"} {
		data, err := os.ReadFile("/proc/self/" + name)
		fmt.Printf("%s: %q %v\n", name, data, err)
	}
	passing := regexp.MustCompile(`^(FDSize|State|Ngid|Vm\w+|Rss\w+|HugetlbPages|Threads|SigQ|SigPnd|ShdPnd|\w*ctxt_switches|CoreDumping|SigBlk|SigCgt|untag_mask|x86_Thread_features\w*|THP_enabled):`)
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if !passing.MatchString(line) {
			fmt.Print(line)
		}
	}
	mounts()
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts"} {
		link, _ := os.Readlink("/proc/self/ns/" + kind)
		fmt.Println("ns", kind, slices.Contains(os.Args[2:], link)) // the caller's
	}
	sid, _ := unix.Getsid(0)
	fmt.Println("session", sid, "group", unix.Getpgrp(), "parent", os.Getppid() != 0)
	var signal int32
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0)
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	keep, _ := unix.PrctlRetInt(unix.PR_GET_KEEPCAPS, 0, 0, 0, 0)
	bits, _ := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	fmt.Println("death signal", signal, "dumpable", dumpable, "keepcaps", keep, "securebits", bits)
	ring, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING)
	fmt.Println("keyring", ring, err)
	links, _ := net.Interfaces()
	for _, l := range links {
		fmt.Println("link", l.Name, l.Flags)
	}
	var name unix.Utsname
	_ = unix.Uname(&name)
	fmt.Println("names", unix.ByteSliceToString(name.Nodename[:]), unix.ByteSliceToString(name.Domainname[:]))
	cwd, err := os.Getwd()
	fmt.Println("cwd", cwd, err)
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		var st unix.Stat_t
		if err == nil && !strings.HasPrefix(link, "anon_inode:") && unix.Stat(fd, &st) == nil {
			fmt.Println("fd", filepath.Base(fd), regexp.MustCompile(`\d+\]`).ReplaceAllString(link, "]"), st.Uid, st.Gid)
		}
	}
	tree()
}

// tree lists the root file system but the host's parts of it.
func tree() {
	_ = filepath.WalkDir("/", func(path string, _ fs.DirEntry, _ error) error {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			fmt.Println("file", path, "?")
			return nil
		}
		link, _ := os.Readlink(path)
		fmt.Printf("file %s %o %d:%d %d:%d %s\n", path, st.Mode, st.Uid, st.Gid, unix.Major(st.Rdev), unix.Minor(st.Rdev), link)
		var sfs unix.Statfs_t
		large := st.Mode&unix.S_IFMT == unix.S_IFDIR && unix.Statfs(path, &sfs) == nil && sfs.Type == unix.SYSFS_MAGIC
		if large || path == "/proc" || path == "/dev/pts" || path == "/host" {
			return fs.SkipDir
		}
		return nil
	})
	for _, path := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sys", "/proc/sys/net/ipv4/ping_group_range", "/proc/sysrq-trigger", "/sys/firmware", "/sys/class/net/lo/mtu", "/sys/fs/cgroup", "/dev/pts/ptmx"} {
		var st unix.Stat_t
		var sfs unix.Statfs_t
		err := unix.Stat(path, &st)
		_ = unix.Statfs(path, &sfs)
		_, werr := os.OpenFile(path, os.O_WRONLY, 0)
		entries, _ := os.ReadDir(path)
		data := ""
		if path == "/proc/sys/net/ipv4/ping_group_range" {
			text, _ := os.ReadFile(path)
			data = string(text)
		}
		fmt.Printf("path %s %o of %d %d:%d %x %x %v %v %d %s\n", path, st.Mode, st.Uid, unix.Major(st.Rdev), unix.Minor(st.Rdev), sfs.Type, sfs.Flags, err, werr, len(entries), data)
	}
}

// mounts prints them by place, with numbers in the order in which they appear.
func mounts() {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	numbers, places := map[string]int{}, map[string]string{}
	number := func(s string) string {
		if _, ok := numbers[s]; !ok {
			numbers[s] = len(numbers)
		}
		return fmt.Sprint("#", numbers[s])
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range lines {
		f := strings.Fields(line)
		places[f[0]] = f[4]
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(strings.Fields(a)[4], strings.Fields(b)[4]) })
	peers := regexp.MustCompile(`(shared|master|propagate_from):(\d+)`)
	for _, line := range lines {
		f := strings.Fields(line)
		rest := peers.ReplaceAllStringFunc(strings.Join(f[3:], " "), func(s string) string {
			kind, n, _ := strings.Cut(s, ":")
			return kind + number("peer"+n)
		})
		fmt.Println("mount on", places[f[1]], "device", number(f[2]), rest)
	}
}
