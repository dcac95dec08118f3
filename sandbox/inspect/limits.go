// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import "github.com/claude-pocket-console/cpc/cgroups"

// limits have docker's names, and cpc's where docker has no such limit.
type limits struct {
	Memory               int64
	MemoryReservation    int64
	MemorySwap           int64 // memory and swap together
	MemoryHigh           int64
	Oom                  string // what ends when memory runs out: process or sandbox
	NanoCpus             int64
	CpuShares            int64 //nolint:revive // docker's name
	CpuPeriod            int64 //nolint:revive // docker's name
	CpuQuota             int64 //nolint:revive // docker's name
	CpusetCpus           string
	CpusetMems           string
	PidsLimit            int64
	BlkioWeight          int64
	BlkioDeviceReadBps   []rate
	BlkioDeviceWriteBps  []rate
	BlkioDeviceReadIOps  []rate
	BlkioDeviceWriteIOps []rate
}

type rate struct {
	Path string
	Rate uint64
}

func limitsOf(l cgroups.Limits) limits {
	v := limits{
		Memory: l.Memory, MemoryReservation: l.Reservation, MemorySwap: l.Swap, MemoryHigh: l.High,
		NanoCpus: l.MilliCPU * 1e6, CpuShares: l.Shares, CpuPeriod: l.Period, CpuQuota: l.Quota,
		CpusetCpus: l.CPUs, CpusetMems: l.Mems, PidsLimit: l.Pids, BlkioWeight: l.IOWeight,
	}
	if v.Oom = cgroups.OOMProcess; l.OOMGroup {
		v.Oom = cgroups.OOMSandbox
	}
	if l.Swap == 0 {
		v.MemorySwap = l.Memory // no swap on top
	}
	for _, r := range l.Rates {
		var to *[]rate
		switch r.Kind {
		case cgroups.ReadBps:
			to = &v.BlkioDeviceReadBps
		case cgroups.WriteBps:
			to = &v.BlkioDeviceWriteBps
		case cgroups.ReadIOPS:
			to = &v.BlkioDeviceReadIOps
		case cgroups.WriteIOPS:
			to = &v.BlkioDeviceWriteIOps
		default:
			continue
		}
		*to = append(*to, rate{r.Device, r.Rate})
	}
	return v
}
