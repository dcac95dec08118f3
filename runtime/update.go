// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// Limits is a change of a container's limits: what is nil, zero or empty stays
// as it is.
type Limits struct {
	Resources     specs.LinuxResources
	L3CacheSchema string
	MemBwSchema   string
}

// ReadResources decodes the resources of an OCI configuration. No more than a
// configuration may hold is read.
func ReadResources(from io.Reader) (specs.LinuxResources, error) {
	var r specs.LinuxResources
	data, err := io.ReadAll(io.LimitReader(from, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("larger than %d bytes", maxConfig)
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read resources: %w", err)
	}
	return r, nil
}

// Update changes the limits of a container. Device rules are left alone.
func (r Runtime) Update(id string, l Limits) error {
	err := r.states().change(id, func(c *libcontainer.Container) error {
		config := c.Config()
		resources := *config.Cgroups.Resources
		group := *config.Cgroups
		group.Resources = &resources
		config.Cgroups = &group
		if err := l.apply(&resources, &config); err != nil {
			return err
		}
		// What the devices are is not known here; not stored in the state.
		resources.SkipDevices = true
		return c.Set(config)
	})
	if err != nil {
		return fmt.Errorf("update %s: %w", id, err)
	}
	return nil
}

func (l *Limits) apply(to *cgroups.Resources, config *configs.Config) error {
	r := &l.Resources
	if r.Memory != nil {
		updateMemory(to, *r.Memory)
	}
	if r.CPU != nil {
		updateCPU(to, r.CPU)
	}
	if err := l.settleIdle(to); err != nil {
		return err
	}
	if r.BlockIO != nil {
		updateBlockIO(to, r.BlockIO)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		to.PidsLimit = r.Pids.Limit
	}
	for _, h := range r.HugepageLimits {
		to.HugetlbLimit = append(to.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	// Earlier ones must not come before what is changed now.
	to.Unified = r.Unified
	return l.applyRDT(config)
}

func updateMemory(to *cgroups.Resources, m specs.LinuxMemory) {
	if m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		m.Swap = new(int64) // no limit of swap without one of memory
	}
	setIf(&to.Memory, m.Limit)
	setIf(&to.MemoryReservation, m.Reservation)
	setIf(&to.MemorySwap, m.Swap)
	setIf(&to.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	if m.Kernel != nil || m.KernelTCP != nil { //nolint:staticcheck // deprecated, and named for that
		logrus.Warn("update: limits of kernel memory are ignored")
	}
}

func updateCPU(to *cgroups.Resources, c *specs.LinuxCPU) {
	if c.Idle != nil {
		to.CPUIdle = c.Idle
		if c.Shares == nil { // nor an earlier weight: see settleIdle
			c.Shares = new(uint64)
		}
	}
	if c.Shares != nil {
		to.CpuShares = *c.Shares
		to.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	}
	setIf(&to.CpuPeriod, c.Period)
	setIf(&to.CpuQuota, c.Quota)
	setIf(&to.CpuRtPeriod, c.RealtimePeriod)
	setIf(&to.CpuRtRuntime, c.RealtimeRuntime)
	if c.Burst != nil {
		to.CpuBurst = c.Burst
	}
	if c.Cpus != "" {
		to.CpusetCpus = c.Cpus
	}
	if c.Mems != "" {
		to.CpusetMems = c.Mems
	}
}

// settleIdle decides between a weight of the CPU and idle, which the kernel does
// not take together: idle wins over a weight that is given with it, a weight that
// is given alone ends an earlier idle. In unified, cpu.idle is as the field.
func (l *Limits) settleIdle(to *cgroups.Resources) error {
	c := l.Resources.CPU
	if c == nil {
		c = &specs.LinuxCPU{}
	}
	_, weight := l.Resources.Unified["cpu.weight"]
	weight = weight || c.Shares != nil && *c.Shares != 0
	idle := c.Idle
	if text, ok := l.Resources.Unified["cpu.idle"]; ok {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("unified cpu.idle: %w", err)
		}
		idle, to.CPUIdle = &n, &n
	}
	switch {
	case idle != nil && *idle == 1:
		if weight {
			logrus.Warn("update: unable to apply both a weight of the CPU and idle, ignoring the weight")
			l.Resources.Unified = maps.Clone(l.Resources.Unified)
			delete(l.Resources.Unified, "cpu.weight")
		}
		to.CpuShares, to.CpuWeight = 0, 0
	case idle == nil && weight && to.CPUIdle != nil && *to.CPUIdle == 1:
		to.CPUIdle = new(int64)
	}
	return nil
}

func setIf[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func updateBlockIO(to *cgroups.Resources, b *specs.LinuxBlockIO) {
	setIf(&to.BlkioWeight, b.Weight)
	setIf(&to.BlkioLeafWeight, b.LeafWeight)
	for _, d := range b.WeightDevice {
		to.BlkioWeightDevice = setWeight(to.BlkioWeightDevice, d)
	}
	for _, t := range []struct {
		to   *[]*cgroups.ThrottleDevice
		from []specs.LinuxThrottleDevice
	}{
		{&to.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice},
		{&to.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice},
		{&to.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice},
		{&to.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			*t.to = setRate(*t.to, d)
		}
	}
}

// setWeight changes the last entry of a device, which is the one that counts,
// or adds one.
func setWeight(to []*cgroups.WeightDevice, d specs.LinuxWeightDevice) []*cgroups.WeightDevice {
	var last *cgroups.WeightDevice
	for _, have := range to {
		if have.Major == d.Major && have.Minor == d.Minor {
			last = have
		}
	}
	if last == nil {
		last = cgroups.NewWeightDevice(d.Major, d.Minor, 0, 0)
		to = append(to, last)
	}
	setIf(&last.Weight, d.Weight)
	setIf(&last.LeafWeight, d.LeafWeight)
	return to
}

func setRate(to []*cgroups.ThrottleDevice, d specs.LinuxThrottleDevice) []*cgroups.ThrottleDevice {
	var last *cgroups.ThrottleDevice
	for _, have := range to {
		if have.Major == d.Major && have.Minor == d.Minor {
			last = have
		}
	}
	if last == nil {
		return append(to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
	}
	last.Rate = d.Rate
	return to
}

func (l *Limits) applyRDT(config *configs.Config) error {
	switch {
	case l.L3CacheSchema == "" && l.MemBwSchema == "":
		return nil
	case l.L3CacheSchema != "" && !intelrdt.IsCATEnabled():
		return errors.New("l3 cache schema: this machine has no Intel RDT/CAT, or resctrl is not mounted")
	case l.MemBwSchema != "" && !intelrdt.IsMBAEnabled():
		return errors.New("memory bandwidth schema: this machine has no Intel RDT/MBA, or resctrl is not mounted")
	case config.IntelRdt == nil:
		return errors.New("the container was made without Intel RDT")
	}
	changed := *config.IntelRdt
	if l.L3CacheSchema != "" {
		changed.L3CacheSchema = l.L3CacheSchema
	}
	if l.MemBwSchema != "" {
		changed.MemBwSchema = l.MemBwSchema
	}
	config.IntelRdt = &changed
	return nil
}
