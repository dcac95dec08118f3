// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hurryCgroups makes a move into a cgroup that follows soon return at once.
//
// Before the kernel moves a process it waits for an RCU grace period, 5 to 15 ms,
// so that no other can be forked meanwhile, unless it has done so for another
// move just before (percpu_down_write of cgroup_threadgroup_rwsem; all
// hierarchies share that lock). Here this process moves to where it is already,
// while another thread reads the bundle. Where that is not possible the later
// move takes as long as it does.
func hurryCgroups() {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	for _, file := range ownCgroups(string(data)) {
		if rejoin(file) == nil {
			return
		}
	}
}

// ownCgroups says which file may take processes into the caller's cgroup of the
// unified hierarchy, from what /proc/self/cgroup says.
func ownCgroups(text string) []string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/"); ok {
			return []string{
				filepath.Join("/sys/fs/cgroup", path, "cgroup.procs"),
				filepath.Join("/sys/fs/cgroup/unified", path, "cgroup.procs"),
			}
		}
	}
	return nil
}

// rejoin moves this process to a cgroup that it is in: a path may name another
// one where the mounted hierarchy is not that of the cgroup namespace.
func rejoin(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, 64<<10)
	n, err := f.Read(buf)
	if err != nil {
		return err
	}
	pid := strconv.Itoa(os.Getpid())
	if !slices.Contains(strings.Fields(string(buf[:n])), pid) {
		return errors.New("not in this cgroup")
	}
	_, err = f.WriteString(pid)
	return err
}
