// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// Load is what a sandbox uses.
type Load struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Asked   string `json:"-"` // the name that was asked for, else the id
	Named   bool   `json:"-"` // it was asked for
	Running bool   `json:"running"`

	CPUPercent float64        `json:"cpuPercent"`        // filled in by who compares two
	HostMemory uint64         `json:"hostMemory"`        // bytes
	Cgroup     *cgroups.Usage `json:"cgroup,omitempty"`  // nil without a cgroup of its own
	Network    *Traffic       `json:"network,omitempty"` // nil without a network of its own
}

// Traffic is what came in and went out since the start, in bytes.
type Traffic struct {
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
}

// Loads looks at the named sandboxes, or at all. Where some are not found, the
// others are returned with the error.
func (e *Engine) Loads(names []string) ([]Load, error) {
	entries, asked, err := e.entries(names)
	total := hostMemory()
	var loads []Load
	for i, entry := range entries {
		r := entry.Record
		l := Load{
			ID: r.ID, Name: r.Name, Asked: asked[i], Named: len(names) > 0, HostMemory: total,
			Running: r.Status == record.Running || r.Status == record.Paused,
		}
		if l.Running {
			if plan, planErr := monitor.LoadPlan(entry); planErr == nil {
				// It may have ended since, or have no cgroup.
				if u, usageErr := plan.Usage(r.PID); usageErr == nil {
					l.Cgroup = &u
				}
			}
			if r.Asked.Options.Network == bundle.NetworkAllowlist {
				l.Network = traffic(r.PID)
			}
		}
		loads = append(loads, l)
	}
	return loads, err
}

func (e *Engine) entries(names []string) (entries []*record.Entry, asked []string, err error) {
	if len(names) == 0 {
		entries, err = e.Set.List()
		for _, entry := range entries {
			asked = append(asked, entry.Record.ID)
		}
		return entries, asked, err
	}
	for _, name := range names {
		entry, findErr := e.Set.Find(name)
		if findErr != nil {
			err = errors.Join(err, findErr)
			continue
		}
		entries, asked = append(entries, entry), append(asked, name)
	}
	return entries, asked, err
}

func hostMemory() uint64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemTotal:" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// traffic adds up the interfaces of a process's network, loopback apart.
func traffic(pid int) *Traffic {
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	var t Traffic
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, counters, ok := strings.Cut(lines.Text(), ":")
		c := strings.Fields(counters)
		if !ok || strings.TrimSpace(name) == "lo" || len(c) < 9 {
			continue
		}
		received, err1 := strconv.ParseUint(c[0], 10, 64)
		sent, err2 := strconv.ParseUint(c[8], 10, 64)
		if err1 == nil && err2 == nil {
			t.Received += received
			t.Sent += sent
		}
	}
	return &t
}

// Processes returns the pids, as the host counts, of what runs in a sandbox: the
// monitor's descendants that are in a pid namespace below its own.
func (e *Engine) Processes(name string) ([]int, error) {
	entry, err := e.Set.Find(name)
	if err != nil {
		return nil, err
	}
	r := entry.Record
	if r.Status != record.Running && r.Status != record.Paused {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, name)
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	depth := all[r.PID].depth
	if depth == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, name)
	}
	var pids []int
	for pid, p := range all {
		if p.depth >= depth && (pid == r.PID || below(all, pid, r.MonitorPID)) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// processInfo is what /proc says of a process: its parent, and how many pid
// namespaces it is in.
type processInfo struct{ parent, depth int }

func below(all map[int]processInfo, pid, ancestor int) bool {
	for range 1 << 10 {
		pid = all[pid].parent
		if pid == ancestor {
			return true
		}
		if pid <= 1 {
			return false
		}
	}
	return false
}

func processes() (map[int]processInfo, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]processInfo{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile("/proc/" + d.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		var p processInfo
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(line, ":")
			switch key {
			case "PPid":
				p.parent, _ = strconv.Atoi(strings.TrimSpace(value)) // the kernel writes a number
			case "NSpid":
				p.depth = len(strings.Fields(value))
			}
		}
		all[pid] = p
	}
	return all, nil
}
