// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNoCgroup says that a sandbox has no cgroup of its own, so that its use of
// a resource cannot be told from its starter's.
var ErrNoCgroup = errors.New("no cgroup of its own")

// Check reads back, from the files of the cgroup that pid is in, each limit that
// the plan enforces. Any difference is an error: the sandbox must not start.
func (p Plan) Check(pid int) error {
	if p.Limits == (Limits{}) {
		return nil
	}
	at, err := p.locate(pid)
	if err != nil {
		return fmt.Errorf("check limits: %w", err)
	}
	var errs []error
	want := func(controller, file, value string) {
		dir, err := at(controller)
		if err != nil {
			errs = append(errs, err)
			return
		}
		got, err := readBounded(filepath.Join(dir, file))
		switch {
		case err != nil:
			errs = append(errs, err)
		case strings.TrimSpace(got) != value:
			errs = append(errs, fmt.Errorf("%s is %q, not %q", filepath.Join(dir, file), strings.TrimSpace(got), value))
		}
	}
	if p.Layout == Unified {
		p.wantV2(want, at)
	} else {
		p.wantV1(want)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check limits: %w", err)
	}
	return nil
}

func (p Plan) wantV2(want func(controller, file, value string), at func(string) (string, error)) {
	if m := p.Limits.Memory; m > 0 {
		want(ctrlMemory, "memory.max", strconv.FormatInt(wholePages(m), 10))
		want(ctrlMemory, "memory.oom.group", "1")
		// The file is absent where the kernel was told to account no swap.
		if dir, err := at(ctrlMemory); err == nil {
			if _, err := os.Lstat(filepath.Join(dir, "memory.swap.max")); err == nil {
				want(ctrlMemory, "memory.swap.max", "0")
			}
		}
	}
	if c := p.Limits.MilliCPU; c > 0 {
		want(ctrlCPU, "cpu.max", fmt.Sprintf("%d %d", quotaOf(c), cpuPeriod))
	}
	if n := p.Limits.Pids; n > 0 {
		want(ctrlPids, "pids.max", strconv.FormatInt(n, 10))
	}
}

func (p Plan) wantV1(want func(controller, file, value string)) {
	if m := p.Limits.Memory; m > 0 {
		bytes := strconv.FormatInt(wholePages(m), 10)
		want(ctrlMemory, "memory.limit_in_bytes", bytes)
		if p.Resources != nil && p.Resources.Memory != nil && p.Resources.Memory.Swap != nil {
			want(ctrlMemory, "memory.memsw.limit_in_bytes", bytes)
		}
	}
	if c := p.Limits.MilliCPU; c > 0 {
		want(ctrlCPU, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod))
		want(ctrlCPU, "cpu.cfs_quota_us", strconv.FormatInt(quotaOf(c), 10))
	}
	if n := p.Limits.Pids; n > 0 {
		want(ctrlPids, "pids.max", strconv.FormatInt(n, 10))
	}
}

// wholePages rounds down as the kernel does.
func wholePages(n int64) int64 {
	page := int64(os.Getpagesize())
	return n / page * page
}

// locate returns a function that finds the directory of a controller ("" is
// cgroup2) for pid, which must be one of the plan's.
func (p Plan) locate(pid int) (func(controller string) (string, error), error) {
	if len(p.Dirs) == 0 {
		return nil, ErrNoCgroup
	}
	data, err := readBounded(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	info, err := readBounded("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	paths, mounts := parseProcCgroup(data), parseMounts(info)
	return func(controller string) (string, error) {
		if p.Layout == Unified {
			controller = ""
		}
		m, ok := findV1(mounts, controller)
		if controller == "" {
			m, ok = findV2(mounts)
		}
		path, in := paths[controller]
		if !ok || !in {
			return "", fmt.Errorf("process %d: no %s hierarchy", pid, controller)
		}
		dir, ok := m.dir(path)
		if !ok || !slices.Contains(p.Dirs, dir) {
			return "", fmt.Errorf("process %d is in %s, which is not the sandbox's cgroup %s: %w", pid, path, p.Path, ErrNoCgroup)
		}
		return dir, nil
	}, nil
}

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

// keyed returns the number after key in a file of "key number" lines, else 0.
func keyed(file, key string) uint64 {
	data, err := readBounded(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(data) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k != key {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
