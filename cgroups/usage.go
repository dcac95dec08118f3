// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a sandbox uses now. What the host does not account is 0.
type Usage struct {
	Memory uint64        `json:"memory"` // bytes, page cache and tmpfs included
	Pids   uint64        `json:"pids"`
	CPU    time.Duration `json:"cpu"` // since its start
}

// Usage reads the use of the sandbox that pid is in. The error is [ErrNoCgroup]
// for a sandbox without a cgroup of its own.
func (p Plan) Usage(pid int) (Usage, error) {
	at, err := p.locate(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("read usage: %w", err)
	}
	if _, err := at(ctrlPids); err != nil {
		return Usage{}, fmt.Errorf("read usage: %w", err)
	}
	var u Usage
	number := func(controller, file string) uint64 {
		dir, err := at(controller)
		if err != nil {
			return 0
		}
		data, err := readBounded(filepath.Join(dir, file))
		if err != nil {
			return 0
		}
		n, err := strconv.ParseUint(strings.TrimSpace(data), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	u.Pids = number(ctrlPids, "pids.current")
	if p.Layout != Unified {
		u.Memory = number(ctrlMemory, "memory.usage_in_bytes")
		u.CPU = time.Duration(number("cpuacct", "cpuacct.usage")) //nolint:gosec // 292 years of nanoseconds
		return u, nil
	}
	u.Memory = number(ctrlMemory, "memory.current")
	if dir, err := at(ctrlCPU); err == nil {
		u.CPU = time.Duration(keyed(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond //nolint:gosec // as above
	}
	return u, nil
}
