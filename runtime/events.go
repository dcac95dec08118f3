// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runc/types"

	ours "github.com/claude-pocket-console/cpc/cgroups"
)

// Event is what events prints, one JSON object a line, in runc's shape: type
// is "stats" or "oom".
type Event = types.Event

// Stats returns what a container uses now.
func (r Runtime) Stats(id string) (*Event, error) {
	c, err := r.states().running(id)
	if err != nil {
		return nil, fmt.Errorf("events %s: %w", id, err)
	}
	event, err := stats(c)
	if err != nil {
		return nil, fmt.Errorf("events %s: %w", id, err)
	}
	return event, nil
}

// Watch calls emit for the container's use once an interval, and each time the
// kernel kills one of its processes for want of memory, until it has ended or
// emit fails.
func (r Runtime) Watch(id string, interval time.Duration, emit func(*Event) error) error {
	if interval <= 0 {
		return fmt.Errorf("events %s: interval %v: duration interval must be greater than 0", id, interval)
	}
	c, err := r.states().running(id)
	if err != nil {
		return fmt.Errorf("events %s: %w", id, err)
	}
	if err := watch(c, interval, emit); err != nil {
		return fmt.Errorf("events %s: %w", id, err)
	}
	return nil
}

func watch(c *libcontainer.Container, interval time.Duration, emit func(*Event) error) error {
	ooms, err := c.NotifyOOM()
	if err != nil {
		return explainCgroup(ours.ExplainInotify(err))
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		event := &Event{Type: "oom", ID: c.ID()}
		select {
		case _, ok := <-ooms:
			if !ok { // the cgroup is gone
				return nil
			}
		case <-ticker.C:
			if event, err = stats(c); err != nil {
				if status, serr := c.Status(); serr == nil && status == libcontainer.Stopped {
					return nil
				}
				return err
			}
		}
		if err := emit(event); err != nil {
			return err
		}
	}
}

func (d states) running(id string) (*libcontainer.Container, error) {
	c, err := d.load(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Stopped {
		return nil, fmt.Errorf("container with id %s is not running", id)
	}
	return c, nil
}

func stats(c *libcontainer.Container) (*Event, error) {
	s, err := c.Stats()
	if err != nil {
		return nil, explainCgroup(err)
	}
	return &Event{Type: "stats", ID: c.ID(), Data: statsData(s)}, nil
}

// statsData arranges the kernel's figures as supervisors read them.
func statsData(from *libcontainer.Stats) *types.Stats {
	cg := from.CgroupStats
	if cg == nil {
		return nil
	}
	usage, throttling := &cg.CpuStats.CpuUsage, &cg.CpuStats.ThrottlingData
	s := &types.Stats{
		Pids: types.Pids{Current: cg.PidsStats.Current, Limit: cg.PidsStats.Limit},
		CPU: types.Cpu{
			Usage: types.CpuUsage{
				Total: usage.TotalUsage, Kernel: usage.UsageInKernelmode, User: usage.UsageInUsermode,
				Percpu: usage.PercpuUsage, PercpuKernel: usage.PercpuUsageInKernelmode, PercpuUser: usage.PercpuUsageInUsermode,
			},
			Throttling: types.Throttling{
				Periods: throttling.Periods, ThrottledPeriods: throttling.ThrottledPeriods, ThrottledTime: throttling.ThrottledTime,
			},
			PSI: cg.CpuStats.PSI,
		},
		CPUSet: types.CPUSet(cg.CPUSetStats),
		Memory: types.Memory{
			Cache:     cg.MemoryStats.Cache,
			Usage:     memoryEntry(cg.MemoryStats.Usage),
			Swap:      memoryEntry(cg.MemoryStats.SwapUsage),
			Kernel:    memoryEntry(cg.MemoryStats.KernelUsage),
			KernelTCP: memoryEntry(cg.MemoryStats.KernelTCPUsage),
			Raw:       cg.MemoryStats.Stats,
			PSI:       cg.MemoryStats.PSI,
		},
		Blkio:             blkio(&cg.BlkioStats),
		Hugetlb:           map[string]types.Hugetlb{},
		IntelRdt:          rdt(from.IntelRdtStats),
		NetworkInterfaces: from.Interfaces,
	}
	for size, h := range cg.HugetlbStats {
		s.Hugetlb[size] = types.Hugetlb{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return s
}

func memoryEntry(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func blkio(b *cgroups.BlkioStats) types.Blkio {
	return types.Blkio{
		IoServiceBytesRecursive: blkioEntries(b.IoServiceBytesRecursive),
		IoServicedRecursive:     blkioEntries(b.IoServicedRecursive),
		IoQueuedRecursive:       blkioEntries(b.IoQueuedRecursive),
		IoServiceTimeRecursive:  blkioEntries(b.IoServiceTimeRecursive),
		IoWaitTimeRecursive:     blkioEntries(b.IoWaitTimeRecursive),
		IoMergedRecursive:       blkioEntries(b.IoMergedRecursive),
		IoTimeRecursive:         blkioEntries(b.IoTimeRecursive),
		SectorsRecursive:        blkioEntries(b.SectorsRecursive),
		PSI:                     b.PSI,
	}
}

func blkioEntries(from []cgroups.BlkioStatEntry) []types.BlkioEntry {
	entries := make([]types.BlkioEntry, 0, len(from))
	for _, e := range from {
		entries = append(entries, types.BlkioEntry(e))
	}
	return entries
}

func rdt(from *intelrdt.Stats) types.IntelRdt {
	var r types.IntelRdt
	if from == nil {
		return r
	}
	if from.L3CacheInfo != nil {
		info := types.L3CacheInfo(*from.L3CacheInfo)
		r.L3CacheInfo = &info
	}
	if from.MemBwInfo != nil {
		info := types.MemBwInfo(*from.MemBwInfo)
		r.MemBwInfo = &info
	}
	r.L3CacheSchemaRoot, r.L3CacheSchema = from.L3CacheSchemaRoot, from.L3CacheSchema
	r.MemBwSchemaRoot, r.MemBwSchema = from.MemBwSchemaRoot, from.MemBwSchema
	r.MBMStats, r.CMTStats, r.Schemata = from.MBMStats, from.CMTStats, from.Schemata
	return r
}
