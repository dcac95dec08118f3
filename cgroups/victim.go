// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Victim is a process that the kernel killed for want of memory.
type Victim struct {
	// Name is the process's own choice, made printable.
	Name string `json:"name"`
	// PID is what the source counts by: the host for the kernel's log, the
	// caller's pid namespace otherwise.
	PID int `json:"pid"`
	// FromLog: the kernel's log says so. Else it is the process that had most
	// memory at the last look, which is whom the kernel chooses.
	FromLog bool `json:"fromLog"`
}

// witness finds out whom the kernel killed: from its log where that may be read,
// else by having looked.
type witness struct {
	dir   string // of the memory controller
	group string // name of the sandbox's cgroup
	kmsg  int    // -1: may not be read
	last  *Victim
}

func newWitness(group string) *witness {
	w := &witness{group: group, kmsg: -1}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return w
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd) // only read from
		return w
	}
	w.kmsg = fd
	return w
}

func (w *witness) close() {
	if w.kmsg >= 0 {
		_ = unix.Close(w.kmsg) // only read from
	}
}

// maxWitnessed bounds how many processes, and how many lines, are looked at.
const maxWitnessed = 4096

// look remembers the process that has most memory.
func (w *witness) look() {
	if w.dir == "" || w.kmsg >= 0 {
		return // the log will say
	}
	pids, err := procs(w.dir)
	if err != nil {
		return
	}
	var most uint64
	for _, pid := range pids[:min(len(pids), maxWitnessed)] {
		rss := resident(pid)
		if rss <= most {
			continue
		}
		name, err := readBounded(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			continue
		}
		most, w.last = rss, &Victim{Name: visible.Bounded(strings.TrimSuffix(name, "\n"), maxName), PID: pid}
	}
}

func resident(pid int) uint64 {
	data, err := readBounded(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(data)
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// victim returns the last one, or nil.
func (w *witness) victim() *Victim {
	if w.kmsg < 0 {
		return w.last
	}
	buf := make([]byte, 8192) // the kernel's longest record
	for range maxWitnessed {
		n, err := unix.Read(w.kmsg, buf)
		if err == unix.EPIPE || err == unix.EINTR {
			continue // records were overwritten before they were read
		}
		if err != nil || n <= 0 {
			break
		}
		if v := parseOOM(string(buf[:n]), w.group); v != nil {
			w.last = v
		}
	}
	return w.last
}

// parseOOM reads the kernel's line about a kill for a cgroup's limit:
//
//	6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/a/cpc-ID,task=tail,pid=123,uid=0
//
// A process chooses its name, so what is after it counts from the end.
func parseOOM(record, group string) *Victim {
	_, text, ok := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(text, "oom-kill:") {
		return nil
	}
	_, rest, ok := strings.Cut(text, ",task_memcg=")
	path, rest, okTask := strings.Cut(rest, ",task=")
	if !ok || !okTask || !inGroup(path, group) {
		return nil
	}
	i := strings.LastIndex(rest, ",pid=")
	if i < 0 {
		return nil
	}
	number, _, _ := strings.Cut(rest[i+len(",pid="):], ",")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return nil
	}
	return &Victim{Name: visible.Bounded(rest[:i], maxName), PID: pid, FromLog: true}
}

// inGroup reports whether a cgroup's path is of the group or below it.
func inGroup(path, group string) bool {
	for ; path != "/" && path != "."; path = filepath.Dir(path) {
		if filepath.Base(path) == group {
			return true
		}
	}
	return false
}

// maxName bounds the name of a victim, which it has chosen itself. The kernel's
// are of up to 15 bytes; those of its threads can be longer.
const maxName = 64
