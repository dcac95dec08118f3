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

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
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
	return h, nil
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

// rlimits returns the sandbox's: no core files, and a number of open files that
// does not depend on what cpc itself was started with; then what was asked.
func (in *Input) rlimits() ([]specs.POSIXRlimit, error) {
	files := uint64(maxOpenFiles)
	if hard, ok := in.Host.Hard["RLIMIT_NOFILE"]; ok {
		files = min(files, hard)
	}
	out := []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE"},
		{Type: "RLIMIT_NOFILE", Soft: min(1024, files), Hard: files},
	}
	for _, u := range in.Ulimits {
		if hard, ok := in.Host.Hard[u.Type]; ok && u.Hard > hard {
			return nil, fmt.Errorf("ulimit %s: the hard limit %s is above the %s of the process that starts the sandbox",
				strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_")), limitText(u.Hard), limitText(hard))
		}
		if u.Soft > u.Hard {
			return nil, fmt.Errorf("ulimit %s: the soft limit is above the hard one", u.Type)
		}
		out = slices.DeleteFunc(out, func(r specs.POSIXRlimit) bool { return r.Type == u.Type })
		out = append(out, u)
	}
	return out, nil
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}
