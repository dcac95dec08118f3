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

	oci "github.com/opencontainers/cgroups"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// ErrNoCgroup says that a sandbox has no cgroup of its own, so that its use of
// a resource cannot be told from its starter's.
var ErrNoCgroup = hint.New("no cgroup of its own",
	"The sandbox runs without enforced limits, so it has no cgroup. See: cpc inspect NAME")

// Check reads back, from the files of the cgroup that pid is in, each limit that
// the plan enforces. Any difference is an error: the sandbox must not start.
func (p Plan) Check(pid int) error { return p.CheckChange(pid, Limits{}) }

// CheckChange is Check after a change from other limits: those that the plan no
// longer has must be gone.
func (p Plan) CheckChange(pid int, from Limits) error {
	if p.Limits.Empty() && from.Empty() {
		return nil
	}
	at, err := p.locate(pid)
	if err != nil {
		return fmt.Errorf("check limits: %w", err)
	}
	c := checker{at: at}
	if p.Layout == Unified {
		c.v2(p.Limits, from)
	} else {
		c.v1(p, from)
	}
	if err := errors.Join(c.errs...); err != nil {
		return fmt.Errorf("check limits: %w", err)
	}
	return nil
}

// checker compares files with what should be in them.
type checker struct {
	at   func(controller string) (string, error)
	errs []error
}

func exactly(want string) func(string) bool { return func(got string) bool { return got == want } }

// file wants one of some files of a controller, the first that there is, to
// hold what ok accepts.
func (c *checker) file(controller, want string, ok func(string) bool, names ...string) {
	dir, err := c.at(controller)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	for i, name := range names {
		got, err := readBounded(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && i < len(names)-1 {
			continue
		}
		got = strings.TrimSpace(got)
		switch {
		case err != nil:
			c.errs = append(c.errs, err)
		case !ok(got):
			c.errs = append(c.errs, fmt.Errorf("%s is %q, not %q", filepath.Join(dir, name), got, want))
		}
		return
	}
}

// number wants a file to hold n, or none where n is 0 and had is not.
func (c *checker) number(controller, file string, n, had int64, none string) {
	want := none
	if n != 0 {
		want = strconv.FormatInt(n, 10)
	}
	if n != 0 || had != 0 {
		c.file(controller, want, exactly(want), file)
	}
}

func (c *checker) has(controller, file string) bool {
	dir, err := c.at(controller)
	if err != nil {
		return false
	}
	_, err = os.Lstat(filepath.Join(dir, file))
	return err == nil
}

func (c *checker) v2(l, from Limits) {
	c.number(ctrlMemory, "memory.max", wholePages(l.Memory), from.Memory, "max")
	c.number(ctrlMemory, "memory.high", wholePages(l.High), from.High, "max")
	if l.Reservation > 0 {
		c.number(ctrlMemory, "memory.low", wholePages(l.Reservation), 0, "")
	}
	switch {
	case l.wholeEnds():
		c.file(ctrlMemory, "1", exactly("1"), "memory.oom.group")
	case l.Memory > 0 && c.has(ctrlMemory, "memory.oom.group"): // since Linux 4.19
		c.file(ctrlMemory, "0", exactly("0"), "memory.oom.group")
	}
	// The file is absent where the kernel was told to account no swap.
	if (l.Memory > 0 || from.Memory > 0) && c.has(ctrlMemory, "memory.swap.max") {
		want := "max"
		if n := l.swapOnly(); n >= 0 {
			want = strconv.FormatInt(wholePages(n), 10)
		}
		c.file(ctrlMemory, want, exactly(want), "memory.swap.max")
	}
	if l.cpuLimited() || from.cpuLimited() {
		quota, period := l.bandwidth()
		want := fmt.Sprintf("%d %d", quota, period)
		if quota < 0 {
			want = fmt.Sprintf("max %d", period)
		}
		c.file(ctrlCPU, want, exactly(want), "cpu.max")
	}
	if l.Shares > 0 || from.Shares > 0 {
		want := strconv.FormatUint(orDefault(l.weight(), l.Shares > 0, defaultWeight), 10)
		c.file(ctrlCPU, want, exactly(want), "cpu.weight")
	}
	c.number(ctrlPids, "pids.max", l.Pids, from.Pids, "max")
	c.lists(l)
	if w := orElse(l.IOWeight, from.IOWeight > 0, defaultIOWeight); w > 0 {
		c.weight(w, "io.bfq.weight", "io.weight")
	}
	c.rates(l, func(r Rate, got string) bool { return ioMax(got, r) }, func(Rate) string { return "io.max" })
}

// weight accepts docker's weight, and what it is in the kernel's own scale.
func (c *checker) weight(w int64, files ...string) {
	own := strconv.FormatUint(oci.ConvertBlkIOToIOWeightValue(uint16(w)), 10) //nolint:gosec // at most 1000
	want := strconv.FormatInt(w, 10)
	c.file(ctrlIO, want, func(got string) bool {
		got, _, _ = strings.Cut(got, "\n")
		got = strings.TrimPrefix(got, "default ")
		return got == want || got == own
	}, files...)
}

func (c *checker) v1(p Plan, from Limits) {
	l := p.Limits
	const none = "9223372036854771712" // what v1 shows for no limit: the most pages that there can be
	c.number(ctrlMemory, "memory.limit_in_bytes", wholePages(l.Memory), from.Memory, none)
	if l.Reservation > 0 || from.Reservation > 0 {
		c.number(ctrlMemory, "memory.soft_limit_in_bytes", wholePages(l.Reservation), from.Reservation, none)
	}
	if (l.Memory > 0 || from.Memory > 0) && p.SwapLimit {
		want := none
		if n := l.swapOnly(); n >= 0 {
			want = strconv.FormatInt(wholePages(l.Memory+n), 10)
		}
		c.file(ctrlMemory, want, exactly(want), "memory.memsw.limit_in_bytes")
	}
	if l.cpuLimited() || from.cpuLimited() {
		quota, period := l.bandwidth()
		c.number(ctrlCPU, "cpu.cfs_period_us", period, 0, "")
		c.number(ctrlCPU, "cpu.cfs_quota_us", quota, 0, "")
	}
	if l.Shares > 0 || from.Shares > 0 {
		c.number(ctrlCPU, "cpu.shares", orElse(l.Shares, true, defaultShares), 0, "")
	}
	c.number(ctrlPids, "pids.max", l.Pids, from.Pids, "max")
	c.lists(l)
	if w := orElse(l.IOWeight, from.IOWeight > 0, defaultIOWeight); w > 0 {
		c.weight(w, "blkio.weight", "blkio.bfq.weight")
	}
	c.rates(l, func(r Rate, got string) bool {
		return slices.Contains(strings.Split(got, "\n"), fmt.Sprintf("%d:%d %d", r.Major, r.Minor, r.Rate))
	}, v1RateFile)
}

func v1RateFile(r Rate) string {
	switch r.Kind {
	case ReadBps:
		return "blkio.throttle.read_bps_device"
	case WriteBps:
		return "blkio.throttle.write_bps_device"
	case ReadIOPS:
		return "blkio.throttle.read_iops_device"
	case WriteIOPS:
	}
	return "blkio.throttle.write_iops_device"
}

func (c *checker) lists(l Limits) {
	for _, list := range []struct{ file, want string }{{"cpuset.cpus", l.CPUs}, {"cpuset.mems", l.Mems}} {
		if list.want != "" {
			c.file(ctrlCPUSet, list.want, func(got string) bool { return within(got, list.want) && got != "" && within(list.want, got) }, list.file)
		}
	}
}

func (c *checker) rates(l Limits, ok func(r Rate, got string) bool, file func(Rate) string) {
	for _, r := range l.Rates {
		want := fmt.Sprintf("%d:%d %s=%d", r.Major, r.Minor, r.Kind, r.Rate)
		c.file(ctrlIO, want, func(got string) bool { return ok(r, got) }, file(r))
	}
}

// ioMax reports whether io.max has the rate.
func ioMax(content string, r Rate) bool {
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == fmt.Sprintf("%d:%d", r.Major, r.Minor) {
			return slices.Contains(f[1:], fmt.Sprintf("%s=%d", r.Kind, r.Rate))
		}
	}
	return false
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
		controller = v1Name(controller)
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
