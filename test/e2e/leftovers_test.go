// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
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
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found = w.findLeftovers(ids); len(found) == 0 {
			return
		}
	}
	t.Errorf("left by %s:\n  %s", w.mode, strings.Join(found, "\n  "))
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

// cgroups finds the sandboxes' cgroups. Other users of this machine have
// sandboxes too: theirs are known by their records.
func (w *who) cgroups() []string {
	if w.mode != root {
		return nil // no user can make one on a host that is not unified
	}
	id := regexp.MustCompile(`^cpc-([0-9a-f]{64})(\.scope)?$`)
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/cpc-*", "/sys/fs/cgroup/*/cpc-*"} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			m := id.FindStringSubmatch(filepath.Base(dir))
			if m != nil && !strangers(m[1], w) {
				found = append(found, dir)
			}
		}
	}
	return found
}

// strangers reports whether a sandbox is not of this caller.
func strangers(id string, w *who) bool {
	if _, err := os.Stat(filepath.Join(w.state, "sandboxes", id)); err == nil {
		return false
	}
	for _, pattern := range []string{"/run/cpc/sandboxes/", "/var/tmp/*/sandboxes/", "/var/tmp/*/*/sandboxes/", "/var/tmp/*/*/*/sandboxes/", "/tmp/*/sandboxes/", "/tmp/*/*/sandboxes/"} {
		if others, _ := filepath.Glob(pattern + id); len(others) > 0 {
			return true
		}
	}
	return othersIn(id, w)
}

// othersIn reports whether processes are in the cgroup, and none of them is of
// this caller: a step of somebody's build has no record.
func othersIn(id string, w *who) bool {
	files, _ := filepath.Glob("/sys/fs/cgroup/*/cpc-" + id + "/cgroup.procs")
	ours, others := w.processes(), false
	for _, file := range files {
		procs, _ := os.ReadFile(file)
		for pid := range strings.FieldsSeq(string(procs)) {
			if slices.ContainsFunc(ours, func(p int) bool { return strconv.Itoa(p) == pid }) {
				return false
			}
			others = true
		}
	}
	return others
}

// files finds what is in the places that hold files of sandboxes.
func (w *who) files(ids []string) []string {
	expected := map[string]bool{}
	for _, id := range ids {
		expected[filepath.Join(w.state, "sandboxes", id)] = true
		expected[filepath.Join(w.data, "sandboxes", id)] = true
	}
	var found []string
	for _, pattern := range []string{w.state + "/sandboxes/*", w.data + "/sandboxes/*", w.data + "/scratch/*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if !expected[name] {
				found = append(found, "file "+name)
			}
		}
	}
	return found
}
