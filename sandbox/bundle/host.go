// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
)

// maxOpenFiles is the hard limit of open files that a sandbox is given where
// the host has a higher one: some programs close all possible descriptors.
const maxOpenFiles = 1 << 19

// Host is what a plan depends on of the process that starts the sandbox.
type Host struct {
	// Hard are the hard resource limits, by name as RLIMIT_NOFILE; no sandbox
	// can go above. A missing name is not checked.
	Hard map[string]uint64 `json:"hard,omitempty"`
	// OOMScoreAdj is the current value; only root may go below.
	OOMScoreAdj int `json:"oomScoreAdj,omitempty"`
	// Thermal are the processors' thermal_throttle directories in /sys.
	Thermal []string `json:"thermal,omitempty"`
	// Disks are the directories of /sys in which the host's disks are.
	Disks []string `json:"disks,omitempty"`
	// Quotas are the sysctls user.* that a sandbox gets, see [userns.Quotas].
	Quotas map[string]uint64 `json:"quotas,omitempty"`
	// Files is how many files the whole machine can have open (fs.file-max).
	Files uint64 `json:"files,omitempty"`
	// CountsApart: the kernel counts the processes of an id in each user
	// namespace (Linux 5.14), so RLIMIT_NPROC of one sandbox is none of another's.
	CountsApart bool `json:"countsApart,omitempty"`
}

// ProbeHost reads the calling process's.
func ProbeHost() (Host, error) {
	h := Host{Hard: map[string]uint64{}}
	for name, number := range dockerflag.Rlimits() {
		var r unix.Rlimit
		if err := unix.Getrlimit(number, &r); err != nil {
			return Host{}, fmt.Errorf("read limit %s: %w", name, err)
		}
		h.Hard[name] = r.Max
	}
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return Host{}, fmt.Errorf("probe host: %w", err)
	}
	if h.OOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return Host{}, fmt.Errorf("probe host: oom_score_adj: %w", err)
	}
	h.Thermal, err = filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	if err != nil {
		return Host{}, fmt.Errorf("probe host: %w", err)
	}
	h.Disks = disks("/sys/block")
	h.Quotas = userns.Quotas()
	if data, err := os.ReadFile("/proc/sys/fs/file-max"); err == nil {
		h.Files, _ = strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64) // 0: not known
	}
	h.CountsApart, err = since(5, 14)
	return h, err
}

// since reports whether the kernel is of that version or later.
func since(major, minor int) (bool, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, fmt.Errorf("probe host: uname: %w", err)
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false, fmt.Errorf("probe host: kernel %q: %w", unix.ByteSliceToString(u.Release[:]), err)
	}
	return a > major || a == major && b >= minor, nil
}

// disks returns the directories that hold what the links in dir lead to: each
// disk has one of its own among the devices, virtual ones share one. A host
// that shows none has nothing to hide.
func disks(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		target, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if d := filepath.Dir(target); d != dir && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// oomScoreAdj is how much sooner than others (later: below 0) the kernel ends the
// sandbox when the host runs out of memory. What -1000 spares cannot be killed at
// the sandbox's own limit either, and would wait there for ever.
func (in *Input) oomScoreAdj() (int, error) {
	own := in.Host.OOMScoreAdj
	if in.OOMScoreAdj == nil {
		return max(own, 0), nil
	}
	n := *in.OOMScoreAdj
	switch {
	case n < -999 || n > 1000:
		return 0, fmt.Errorf("oom-score-adj %d: the range is -999 to 1000", n)
	case n < own && in.Mapping.Mode != idmap.Root:
		return 0, fmt.Errorf("oom-score-adj %d: only root may go below the %d of the process that starts the sandbox", n, own)
	}
	return n, nil
}
