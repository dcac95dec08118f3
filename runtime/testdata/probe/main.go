// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command probe is the only program in the test containers: it looks at its
// surroundings from inside, and prints JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	switch os.Args[1] {
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "sleep":
		time.Sleep(time.Minute)
	case "suicide":
		suicide(os.Args[2:])
	case "size":
		if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
			fmt.Println(size.Row, size.Col)
		}
	case "echo":
		fmt.Println(strings.Join(os.Args[2:], " "))
	case "look":
		look()
	case "steal":
		steal()
	case "calls":
		show(calls())
	case "calls32":
		watched(calls32)
	case "callsx32":
		watched(callsx32)
	case "orphan":
		orphan()
	case "wait":
		wait(os.Args[2])
	case "leave":
		leave()
	case "trap":
		trap()
	case "ready":
		ready()
	case "paths":
		paths()
	case "cat":
		for _, file := range os.Args[2:] {
			data, err := os.ReadFile(file)
			fmt.Printf("%s%v\n", data, err)
		}
	case "save":
		save()
	case "overwrite":
		overwrite(os.Args[2])
	case "everything":
		everything()
	}
}

// suicide ends by a signal, the one with this number if there is one, whatever Go's
// runtime would do upon it.
func suicide(number []string) {
	which := 15
	if len(number) > 0 {
		which, _ = strconv.Atoi(number[0])
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	var byDefault [4]uint64 // struct sigaction
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(which), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	_ = unix.Kill(os.Getpid(), unix.Signal(which))
	time.Sleep(time.Second)
}

func show(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// watched calls from a thread of its own, and exits 99 when that is killed.
func watched(f func() map[string]int) {
	go func() {
		goruntime.LockOSThread()
		show(f())
		os.Exit(0)
	}()
	time.Sleep(time.Second)
	os.Exit(99)
}

// look prints what a process can tell about itself.
func look() {
	status := map[string]string{}
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	fds := map[string]string{}
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, e := range entries {
		if target, err := os.Readlink(e); err == nil && target != "anon_inode:[eventpoll]" && target != "anon_inode:[eventfd]" {
			fds[filepath.Base(e)] = target
		}
	}
	idmap, _ := os.ReadFile("/proc/self/uid_map")
	cwd, _ := os.Getwd()
	host, _ := os.Hostname()
	nets, _ := filepath.Glob("/sys/class/net/*")
	procs, _ := filepath.Glob("/proc/[0-9]*")
	groups, _ := os.Getgroups()
	threads, _ := filepath.Glob("/proc/1/task/*")
	pgrp, _ := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	show(map[string]any{
		"status": status, "fds": fds, "uidMap": strings.Fields(string(idmap)), "cwd": cwd, "hostname": host,
		"nets": nets, "procs": len(procs), "env": os.Environ(), "uid": os.Getuid(), "gid": os.Getgid(),
		"groups": groups, "pid": os.Getpid(), "rootWrite": errno(os.WriteFile("/x", nil, 0o600)), "args": os.Args,
		"initThreads": len(threads), "pgid": unix.Getpgrp(), "foreground": pgrp,
	})
}

func errno(err error) string {
	if err == nil {
		return ""
	}
	for _, e := range []unix.Errno{unix.EROFS, unix.EPERM, unix.EACCES, unix.ETXTBSY, unix.ENOSYS} {
		if strings.HasSuffix(err.Error(), e.Error()) {
			return unix.ErrnoName(e)
		}
	}
	return err.Error()
}

// steal keeps the parent's executable open, ends the parent and then tries to
// write to that file. It prints the errors, which are to be all there is.
func steal() {
	parent := os.Getppid()
	exe := fmt.Sprintf("/proc/%d/exe", parent)
	running, err := os.OpenFile(exe, os.O_WRONLY, 0)
	results := []string{errno(err)}
	if err == nil {
		_ = running.Close()
	}
	held, err := os.Open(exe)
	if err != nil {
		show(append(results, errno(err)))
		return
	}
	_ = unix.Kill(parent, unix.SIGKILL)
	for range 50 {
		time.Sleep(10 * time.Millisecond)
		f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", held.Fd()), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("owned")
			_ = f.Close()
		}
		if e := errno(err); e != results[len(results)-1] {
			results = append(results, e)
		}
	}
	show(results)
}

// overwrite tries to write to a file, at once and by a descriptor.
func overwrite(path string) {
	results := map[string]string{}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	results["opened"] = errno(err)
	if err == nil {
		_ = f.Close()
	}
	held, err := os.Open(path)
	if err == nil {
		f, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", held.Fd()), os.O_RDWR, 0)
	}
	if err == nil {
		_, err = f.WriteString("owned")
	}
	results["reopened"] = errno(err)
	show(results)
}

// wait says that it is there, in this directory, and has a child in a session of its
// own that waits as well.
func wait(dir string) {
	if len(os.Args) == 3 {
		self, _ := os.Executable()
		_, err := os.StartProcess(self, []string{self, "wait", dir, "child"}, &os.ProcAttr{Sys: &unix.SysProcAttr{Setsid: true}})
		if err != nil {
			show(err.Error())
		}
	} else if err := os.WriteFile(filepath.Join(dir, "waiting"), nil, 0o600); err != nil {
		show(err.Error())
	}
	time.Sleep(time.Minute)
}

// leave writes much, leaves a process that keeps the streams, and ends.
func leave() {
	self, _ := os.Executable()
	_, err := os.StartProcess(self, []string{self, "sleep"}, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		show(err.Error())
	}
	for i := range 3000 {
		fmt.Println("line", i)
	}
	os.Exit(3)
}

// orphan leaves a grandchild to pid 1 and reports whether it gets reaped.
func orphan() {
	self, _ := os.Executable()
	if len(os.Args) == 2 {
		p, err := os.StartProcess(self, []string{self, "orphan", "parent"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			show(err.Error())
			return
		}
		_, _ = p.Wait()
		time.Sleep(300 * time.Millisecond)
		zombies := 0
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, s := range stats {
			if data, _ := os.ReadFile(s); strings.Contains(string(data), ") Z ") {
				zombies++
			}
		}
		show(zombies)
		return
	}
	_, _ = os.StartProcess(self, []string{self, "exit", "0"}, &os.ProcAttr{})
}

// trap says when it is ready, and which signal it gets.
func trap() {
	ready := make(chan os.Signal, 1)
	notify(ready)
	fmt.Println("ready")
	fmt.Println(<-ready)
	os.Exit(7)
}

// ready tells the service manager so, after what is to be held back, and stays.
func ready() {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Sendto(fd, []byte("STATUS=nearly\nMAINPID=1"), 0, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")})
	}
	if err == nil {
		err = unix.Sendto(fd, []byte("STATUS=x\nREADY=1\n"), 0, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	time.Sleep(time.Minute)
}

// paths tells of each argument what is there.
func paths() {
	results := map[string]map[string]any{}
	for _, path := range os.Args[2:] {
		r := map[string]any{}
		results[path] = r
		if link, err := os.Readlink(path); err == nil {
			r["link"] = link
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			r["error"] = errno(err)
			continue
		}
		r["mode"], r["rdev"] = st.Mode, fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		r["owner"] = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		data, err := os.ReadFile(path)
		r["data"], r["read"] = string(data), errno(err)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		r["write"] = errno(err)
		if err == nil {
			_ = f.Close()
		}
	}
	prio, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, 0, 0)
	results["ioprio"] = map[string]any{"data": fmt.Sprintf("%d/%d", prio>>13, prio&7)}
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	results["core"] = map[string]any{"data": fmt.Sprintf("%d/%d", limit.Cur, limit.Max)}
	var name unix.Utsname
	_ = unix.Uname(&name)
	results["uname"] = map[string]any{"data": unix.ByteSliceToString(name.Machine[:]) + " " + unix.ByteSliceToString(name.Domainname[:])}
	show(results)
}

// save is a hook: it keeps what it is told.
func save() {
	data, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = os.WriteFile(os.Args[2]+".json", data, 0o644)
	}
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(filepath.Join(filepath.Dir(os.Args[2]), "order"), os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, err = fmt.Fprintln(f, filepath.Base(os.Args[2]))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
