// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	oci "github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What ends when memory runs out (Limits.OOMGroup), as people say it.
const (
	OOMProcess = "process" // the one that the kernel chooses
	OOMSandbox = "sandbox" // all of it
)

// Limits are the limits of one sandbox; 0 and "" are no limit.
type Limits struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	// Swap is memory and swap together, in bytes, as docker counts. 0 is no
	// swap on top of Memory, -1 as much as the host has.
	Swap int64 `json:"swap,omitempty"`
	// Reservation is what the sandbox keeps, in bytes, when the host runs out
	// of memory (memory.low; v1: the soft limit).
	Reservation int64 `json:"reservation,omitempty"`
	// High is where the kernel begins to take memory back, and slows the
	// sandbox down for it, in bytes (memory.high, v2 only).
	High int64 `json:"high,omitempty"`
	// OOMGroup: when the kernel kills a process for want of Memory, the whole sandbox
	// ends (memory.oom.group; v1: its owner ends it, see [OOMKill]). Else only that
	// process does.
	OOMGroup bool `json:"oomGroup,omitempty"`

	MilliCPU int64 `json:"milliCPU,omitempty"` // 1000 is one processor
	// Quota of Period, both in microseconds, is the same said otherwise: not
	// both of MilliCPU and Quota. Period alone is that of MilliCPU.
	Quota  int64  `json:"quota,omitempty"`
	Period int64  `json:"period,omitempty"`
	Shares int64  `json:"shares,omitempty"` // weight among others, 1024 is usual
	CPUs   string `json:"cpus,omitempty"`   // list of processors, as 0-2,4
	Mems   string `json:"mems,omitempty"`   // list of memory nodes

	Pids int64 `json:"pids,omitempty"` // processes and threads

	IOWeight int64  `json:"ioWeight,omitempty"` // 10 to 1000
	Rates    []Rate `json:"rates,omitempty"`    // of block devices
}

// RateKind is what a [Rate] bounds; the names are those of io.max.
type RateKind string

// The rates of a block device.
const (
	ReadBps   RateKind = "rbps"
	WriteBps  RateKind = "wbps"
	ReadIOPS  RateKind = "riops"
	WriteIOPS RateKind = "wiops"
)

// Rate is what a sandbox may do with one block device in a second.
type Rate struct {
	Kind   RateKind `json:"kind"`
	Device string   `json:"device"` // path
	Major  int64    `json:"major"`
	Minor  int64    `json:"minor"`
	Rate   uint64   `json:"rate"` // bytes or operations
}

// Empty reports whether nothing is limited.
func (l Limits) Empty() bool {
	return l.Memory == 0 && l.Swap == 0 && l.Reservation == 0 && l.High == 0 && l.MilliCPU == 0 && l.Quota == 0 && l.Period == 0 &&
		l.Shares == 0 && l.CPUs == "" && l.Mems == "" && l.Pids == 0 && l.IOWeight == 0 && len(l.Rates) == 0
}

// Validate refuses limits that contradict each other, or that no kernel takes.
func (l Limits) Validate() error {
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{l.Memory < 0 || l.Swap < -1 || l.Reservation < 0 || l.High < 0 || l.MilliCPU < 0 || l.Quota < 0 || l.Pids < 0, "a limit must not be negative"},
		{l.Swap != 0 && l.Memory == 0, "memory-swap: set the memory limit too"},
		{l.Swap > 0 && l.Swap < l.Memory, fmt.Sprintf("memory-swap %d: is memory and swap together, so not less than the memory limit %d", l.Swap, l.Memory)},
		{l.Memory > 0 && l.Reservation > l.Memory, fmt.Sprintf("memory-reservation %d: must not be more than the memory limit %d", l.Reservation, l.Memory)},
		{l.Memory > 0 && l.High > l.Memory, fmt.Sprintf("memory-high %d: must not be more than the memory limit %d", l.High, l.Memory)},
		{l.MilliCPU != 0 && l.Quota != 0, "cpus and cpu-quota say the same: give one of them"},
		{l.Period != 0 && (l.Period < 1000 || l.Period > 1000000), fmt.Sprintf("cpu-period %d: the range is 1000 to 1000000 microseconds", l.Period)},
		{l.Quota != 0 && l.Quota < 1000, fmt.Sprintf("cpu-quota %d: the minimum is 1000 microseconds", l.Quota)},
		{l.Shares != 0 && (l.Shares < 2 || l.Shares > 262144), fmt.Sprintf("cpu-shares %d: the range is 2 to 262144", l.Shares)},
		{l.IOWeight != 0 && (l.IOWeight < 10 || l.IOWeight > 1000), fmt.Sprintf("blkio-weight %d: the range is 10 to 1000", l.IOWeight)},
	} {
		if c.bad {
			return errors.New(c.text)
		}
	}
	for _, list := range []string{l.CPUs, l.Mems} {
		if _, err := parseList(list); err != nil {
			return fmt.Errorf("cpuset: %w", err)
		}
	}
	for _, r := range l.Rates {
		if !slices.Contains(rateKinds(), r.Kind) || r.Rate == 0 || r.Major < 0 || r.Minor < 0 {
			return fmt.Errorf("device %s: not a rate: %d %q", r.Device, r.Rate, r.Kind)
		}
	}
	return nil
}

func rateKinds() []RateKind { return []RateKind{ReadBps, WriteBps, ReadIOPS, WriteIOPS} }

// maxListed bounds the numbers in a list of processors or nodes.
const maxListed = 8192

// parseList reads the kernel's lists, as 0-2,4 (cpuset(7)).
func parseList(s string) (map[int]bool, error) {
	set := map[int]bool{}
	s = strings.TrimSpace(s)
	if s == "" {
		return set, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && ranged {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || from > to || to >= maxListed {
			return nil, fmt.Errorf("%q: must be a list of numbers, as 0-2,4", s)
		}
		for n := from; n <= to; n++ {
			set[int(n)] = true //nolint:gosec // of 16 bits
		}
	}
	return set, nil
}

// bandwidth is the CPU time of each period, in microseconds; -1 is all of it.
func (l Limits) bandwidth() (quota, period int64) {
	period = l.Period
	if period == 0 {
		period = cpuPeriod
	}
	switch {
	case l.Quota > 0:
		return l.Quota, period
	case l.MilliCPU > 0:
		// The kernel takes no less than a millisecond.
		return max(l.MilliCPU*period/1000, 1000), period
	}
	return -1, period
}

// Processors is how much processor time there is in each second, in seconds; 0 is
// without a limit.
func (l Limits) Processors() float64 {
	quota, period := l.bandwidth()
	return max(float64(quota)/float64(period), 0)
}

// wholeEnds reports whether the memory limit can end the whole sandbox.
func (l Limits) wholeEnds() bool { return l.Memory > 0 && l.OOMGroup }

func (l Limits) cpuLimited() bool { return l.MilliCPU > 0 || l.Quota > 0 || l.Period > 0 }

// swapOnly is what memory.swap.max holds; -1 is max.
func (l Limits) swapOnly() int64 {
	switch {
	case l.Swap < 0 || l.Memory == 0:
		return -1
	case l.Swap == 0:
		return 0
	}
	return l.Swap - l.Memory
}

// part is one limit: what it is called, what it needs, and how to leave it out.
type part struct {
	name, controller string
	set              bool
	drop             func()
}

func (l *Limits) parts() []part {
	return []part{
		{"memory", ctrlMemory, l.Memory > 0, func() { l.Memory, l.Swap = 0, 0 }},
		{"memory-swap", ctrlMemory, l.Swap != 0, func() { l.Swap = 0 }},
		{"memory-reservation", ctrlMemory, l.Reservation > 0, func() { l.Reservation = 0 }},
		{"memory-high", ctrlMemory, l.High > 0, func() { l.High = 0 }},
		{"cpu", ctrlCPU, l.cpuLimited(), func() { l.MilliCPU, l.Quota, l.Period = 0, 0, 0 }},
		{"cpu-shares", ctrlCPU, l.Shares > 0, func() { l.Shares = 0 }},
		{"cpuset-cpus", ctrlCPUSet, l.CPUs != "", func() { l.CPUs = "" }},
		{"cpuset-mems", ctrlCPUSet, l.Mems != "", func() { l.Mems = "" }},
		{"pids", ctrlPids, l.Pids > 0, func() { l.Pids = 0 }},
		{"blkio-weight", ctrlIO, l.IOWeight > 0, func() { l.IOWeight = 0 }},
		{"device rates", ctrlIO, len(l.Rates) > 0, func() { l.Rates = nil }},
	}
}

// weight is cpu.weight for docker's shares.
func (l Limits) weight() uint64 { return oci.ConvertCPUSharesToCgroupV2Value(uint64(l.Shares)) } //nolint:gosec // not negative

// resources translates limits for the OCI runtime. What was limited in from
// and is not in l gets its limit taken away.
func (p Plan) resources(l, from Limits) *specs.LinuxResources {
	r := &specs.LinuxResources{Memory: p.memory(l, from), CPU: p.cpu(l, from), BlockIO: blockIO(l, from)}
	if n := orElse(l.Pids, from.Pids != 0, -1); n != 0 {
		r.Pids = &specs.LinuxPids{Limit: &n}
	}
	if p.Layout != Unified {
		return r
	}
	set := func(file string, have, had bool, value, none string) {
		if !have {
			value = none
		}
		if have || had {
			if r.Unified == nil {
				r.Unified = map[string]string{}
			}
			r.Unified[file] = value
		}
	}
	set("memory.oom.group", l.wholeEnds(), from.wholeEnds(), "1", "0")
	set("memory.high", l.High > 0, from.High > 0, strconv.FormatInt(l.High, 10), "max")
	// Runtimes differ in how they translate shares; the weight is the weight.
	set("cpu.weight", l.Shares > 0, from.Shares > 0, strconv.FormatUint(l.weight(), 10), strconv.Itoa(defaultWeight))
	return r
}

// orElse is n, or none where there was a limit and is none now.
func orElse(n int64, had bool, none int64) int64 {
	if n == 0 && had {
		return none
	}
	return n
}

func orDefault(n uint64, have bool, otherwise uint64) uint64 {
	if have {
		return n
	}
	return otherwise
}

func (p Plan) memory(l, from Limits) *specs.LinuxMemory {
	limit := orElse(l.Memory, from.Memory != 0, -1)
	reservation := orElse(l.Reservation, from.Reservation != 0, -1)
	if limit == 0 && reservation == 0 {
		return nil
	}
	m := &specs.LinuxMemory{}
	if limit != 0 {
		m.Limit = &limit
	}
	if limit != 0 && p.SwapLimit {
		swap := l.Swap
		if swap == 0 {
			swap = limit // memory and swap together: no swap on top
		}
		m.Swap = &swap
	}
	if reservation == -1 && p.Layout == Unified {
		reservation = 1 // no library writes 0 here; the kernel makes it no page
	}
	if reservation != 0 {
		m.Reservation = &reservation
	}
	return m
}

func (p Plan) cpu(l, from Limits) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: l.CPUs, Mems: l.Mems}
	if l.cpuLimited() || from.cpuLimited() {
		quota, micro := l.bandwidth()
		period := uint64(micro) //nolint:gosec // positive
		c.Quota, c.Period = &quota, &period
	}
	if p.Layout != Unified && (l.Shares > 0 || from.Shares > 0) {
		shares := uint64(orElse(l.Shares, true, defaultShares)) //nolint:gosec // positive
		c.Shares = &shares
	}
	if c.Cpus == "" && c.Mems == "" && c.Quota == nil && c.Shares == nil {
		return nil
	}
	return c
}

// defaultShares is the kernel's, and what docker's 0 means.
const defaultShares = 1024

// defaultWeight is that in cpu.weight.
const defaultWeight = 100

// defaultIOWeight is what docker's 0 means.
const defaultIOWeight = 100

func blockIO(l, from Limits) *specs.LinuxBlockIO {
	weight := orElse(l.IOWeight, from.IOWeight != 0, defaultIOWeight)
	if weight == 0 && len(l.Rates) == 0 {
		return nil
	}
	b := &specs.LinuxBlockIO{}
	if weight != 0 {
		w := uint16(weight) //nolint:gosec // at most 1000
		b.Weight = &w
	}
	for _, r := range l.Rates {
		d := specs.LinuxThrottleDevice{Rate: r.Rate}
		d.Major, d.Minor = r.Major, r.Minor
		switch r.Kind {
		case ReadBps:
			b.ThrottleReadBpsDevice = append(b.ThrottleReadBpsDevice, d)
		case WriteBps:
			b.ThrottleWriteBpsDevice = append(b.ThrottleWriteBpsDevice, d)
		case ReadIOPS:
			b.ThrottleReadIOPSDevice = append(b.ThrottleReadIOPSDevice, d)
		case WriteIOPS:
			b.ThrottleWriteIOPSDevice = append(b.ThrottleWriteIOPSDevice, d)
		}
	}
	return b
}
