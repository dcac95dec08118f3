// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// clear ends and removes all sandboxes of the caller.
func (w *who) clear(t *testing.T) {
	t.Helper()
	all := lines(w.must(t, "ps", "-aq"))
	if len(all) > 0 {
		w.must(t, append([]string{"rm", "-f"}, all...)...)
	}
}

// leftovers fails the test if anything of the caller's sandboxes is left: a
// process, a mount, a cgroup, a file. Things that end may take 2 s for that.
func (w *who) leftovers(t *testing.T) {
	t.Helper()
	w.leftoversBut(t, nil)
}

// leftoversBut is leftovers while some sandboxes' records, by id, may be there.
func (w *who) leftoversBut(t *testing.T, ids []string) {
	t.Helper()
	var found []string
	if !testkit.Within(2*time.Second, func() bool { found = w.findLeftovers(ids); return len(found) == 0 }) {
		t.Errorf("left by %s:\n  %s", w.mode, strings.Join(found, "\n  "))
	}
}

func (w *who) findLeftovers(ids []string) []string {
	var found []string
	for _, pid := range w.processes() {
		found = append(found, describe(pid))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	for _, line := range lines(string(mounts)) {
		if strings.Contains(line, w.home) {
			found = append(found, "mount "+line)
		}
	}
	for _, dir := range w.cgroups() {
		found = append(found, "cgroup "+dir)
	}
	return append(found, w.files(ids)...)
}

// describe says what a process is.
func describe(pid int) string {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")))
}

// processes finds cpc's processes by their environment, and those in sandboxes
// by the file systems that they see, in whatever namespaces they are.
func (w *who) processes() []int { return processesOf(w.home) }

func (b *bed) processes() []int { return processesOf(b.dir) }

func processesOf(dir string) []int {
	var found []int
	for _, pid := range pids() {
		if pid == os.Getpid() {
			continue
		}
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if bytes.Contains(env, []byte("CPC_DATA_DIR="+dir)) || bytes.Contains(mounts, []byte(dir)) {
			found = append(found, pid)
		}
	}
	return found
}

// cgroups finds the cgroups of all sandboxes that this caller has ever had.
// Others on this machine have sandboxes too.
func (w *who) cgroups() []string {
	if w.mode != root {
		return nil // no user can make one on a host that is not unified
	}
	w.ids.collect()
	id := regexp.MustCompile(`^cpc-([0-9a-f]{64})(\.scope)?$`)
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/cpc-*", "/sys/fs/cgroup/*/cpc-*"} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			m := id.FindStringSubmatch(filepath.Base(dir))
			if m != nil && w.ids.seen[m[1]] {
				found = append(found, dir)
			}
		}
	}
	return found
}

// idWatch collects the ids of all sandboxes and build steps of a caller, from
// the names in the directories of their records.
type idWatch struct {
	fd   int // inotify
	seen map[string]bool
}

func watchIDs(dirs ...string) (*idWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if _, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
			break
		}
	}
	return &idWatch{fd: fd, seen: map[string]bool{}}, err
}

// collect reads what has been notified. The caller is in one test at a time,
// so there is no lock.
func (i *idWatch) collect() {
	var buf [8192]byte
	for {
		n, err := unix.Read(i.fd, buf[:])
		if err != nil || n < unix.SizeofInotifyEvent {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			length := int(binary.NativeEndian.Uint32(buf[at+12:]))
			name := buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+length]
			i.seen[string(bytes.TrimRight(name, "\x00"))] = true
			at += unix.SizeofInotifyEvent + length
		}
	}
}

// files finds what is in the places that hold files of sandboxes.
func (w *who) files(ids []string) []string {
	expected := map[string]bool{}
	for _, id := range ids {
		expected[filepath.Join(w.state, "sandboxes", id)] = true
		expected[filepath.Join(w.data, "sandboxes", id)] = true
	}
	var found []string
	for _, pattern := range []string{w.state + "/sandboxes/*", w.state + "/steps/*", w.data + "/sandboxes/*", w.data + "/scratch/*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if !expected[name] {
				found = append(found, "file "+name)
			}
		}
	}
	return found
}
