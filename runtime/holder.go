// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/procstat"
)

// makePatience is how long delete --force lets a container be made or started by
// somebody else before it ends that: a create that waits for a hook may never end.
const makePatience = 500 * time.Millisecond

// holder is the process that holds the lock of an id to make or start a container.
type holder struct {
	pid   int
	start uint64 // of the process, in ticks
	ns    string // in which the pid is meant
}

// pidNamespace names the one that this process is in.
func pidNamespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "?" // is nobody's
	}
	return name
}

// sign writes into a lock who holds it, if delete --force may end that one.
func (l *idLock) sign(mayEnd bool) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if !mayEnd {
		return nil
	}
	stat, err := procstat.Read(os.Getpid())
	if err != nil {
		return err
	}
	_, err = l.file.WriteAt(fmt.Appendf(nil, "%d %d %s\n", os.Getpid(), stat.Start, pidNamespace()), 0)
	return err
}

// readHolder reads who holds a lock.
func readHolder(path string) (h holder, ok bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return h, false
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return h, false
	}
	n, err := fmt.Sscanf(string(data), "%d %d %s\n", &h.pid, &h.start, &h.ns)
	return h, err == nil && n == 3 && h.pid > 1 && h.ns == pidNamespace()
}

// end kills the holder and all that descends from it: the container's init, and
// hooks.
func (h holder) end() error {
	fd, err := unix.PidfdOpen(h.pid, 0)
	if err != nil {
		return nil // it has ended
	}
	defer func() { _ = unix.Close(fd) }()
	if stat, err := procstat.Read(h.pid); err != nil || stat.Start != h.start {
		return nil // that process has ended
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil {
		return nil // it has ended
	}
	// What has been stopped makes no more processes, and orphans none.
	family := map[int]bool{h.pid: true}
	for grown := true; grown; {
		grown = false
		for _, pid := range children(family) {
			family[pid], grown = true, true
			_ = unix.Kill(pid, unix.SIGSTOP) // it may have ended
		}
	}
	delete(family, h.pid)
	for pid := range family {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
	}
	return killAndWait(fd)
}

// children are the processes whose parent is in a family, and which are not.
func children(family map[int]bool) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || family[pid] {
			continue
		}
		if stat, err := procstat.Read(pid); err == nil && family[stat.Parent] {
			pids = append(pids, pid)
		}
	}
	return pids
}
