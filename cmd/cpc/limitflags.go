// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	goruntime "runtime"
	"slices"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

// limitFlags are the limits as they were typed. Only those that were given
// count: the others are the defaults, or stay what they are.
type limitFlags struct {
	memory, reservation, swap, high, oom   string
	cpus, cpusetCPUs, cpusetMems, pids     string
	shares, period, quota, ioWeight        int64
	readBps, writeBps, readIOPS, writeIOPS []string
}

// register adds the flags; memory, cpus and pids are what their help shows as
// defaults.
func (f *limitFlags) register(fs *pflag.FlagSet, memory, cpus, pids string) {
	fs.StringVarP(&f.memory, "memory", "m", memory, "Memory limit in `BYTES` (b, k, m, g); 0 is none")
	fs.StringVar(&f.reservation, "memory-reservation", "", "Memory in `BYTES` that the sandbox keeps when the host runs out of memory")
	fs.StringVar(&f.swap, "memory-swap", "", "Limit of memory and swap together in `BYTES`; -1 is no limit (default: no swap)")
	fs.StringVar(&f.high, "memory-high", "", "Slow the sandbox down and reclaim memory above this number of `BYTES` (cgroup v2)")
	fs.StringVar(&f.cpus, "cpus", cpus, "`NUMBER` of CPUs; 0 is no limit")
	fs.Int64VarP(&f.shares, "cpu-shares", "c", 0, "Relative `WEIGHT` when sandboxes compete for the CPU: 2 to 262144; docker's default is 1024")
	fs.Int64Var(&f.period, "cpu-period", 0, "Length of the period of --cpu-quota in `MICROSECONDS`")
	fs.Int64Var(&f.quota, "cpu-quota", 0, "CPU time per period in `MICROSECONDS`; an alternative to --cpus")
	fs.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "`CPUS` that the sandbox may use, such as 0-2,4")
	fs.StringVar(&f.cpusetMems, "cpuset-mems", "", "Memory `NODES` that the sandbox may use, such as 0,1")
	fs.StringVar(&f.pids, "pids-limit", pids, "Maximum `NUMBER` of processes and threads; -1 is no limit")
	fs.Int64Var(&f.ioWeight, "blkio-weight", 0, "Relative `WEIGHT` of block I/O: 10 to 1000")
	fs.StringArrayVar(&f.readBps, "device-read-bps", nil, "Maximum read rate in bytes per second: `DEVICE:RATE`, such as /dev/sda:1mb")
	fs.StringArrayVar(&f.writeBps, "device-write-bps", nil, "Maximum write rate in bytes per second: `DEVICE:RATE`")
	fs.StringArrayVar(&f.readIOPS, "device-read-iops", nil, "Maximum number of reads per second: `DEVICE:NUMBER`")
	fs.StringArrayVar(&f.writeIOPS, "device-write-iops", nil, "Maximum number of writes per second: `DEVICE:NUMBER`")
}

// registerOOM adds the flag that is for sandboxes, not for steps of a build.
func (f *limitFlags) registerOOM(fs *pflag.FlagSet, value string) {
	fs.StringVar(&f.oom, "oom", value, "`WHAT` ends when memory runs out: process (the one that the kernel chooses) or sandbox (all of it)")
}

func (f *limitFlags) applyOOM(l *cgroups.Limits) error {
	if f.oom != cgroups.OOMProcess && f.oom != cgroups.OOMSandbox {
		return fmt.Errorf("invalid value %q: choose %s, %s", f.oom, cgroups.OOMProcess, cgroups.OOMSandbox)
	}
	l.OOMGroup = f.oom == cgroups.OOMSandbox
	return nil
}

// apply puts what was said into l, which may then contradict itself: see
// Limits.Validate.
func (f *limitFlags) apply(said func(flag string) bool, l *cgroups.Limits) error {
	for _, step := range []struct {
		flag string
		do   func() error
	}{
		{"memory", bytesInto(&l.Memory, f.memory, dockerflag.ParseMemory)},
		{"memory-reservation", bytesInto(&l.Reservation, f.reservation, dockerflag.ParseMemory)},
		{"memory-high", bytesInto(&l.High, f.high, dockerflag.ParseMemory)},
		{"memory-swap", bytesInto(&l.Swap, f.swap, parseSwap)},
		{"oom", func() error { return f.applyOOM(l) }},
		{"pids-limit", bytesInto(&l.Pids, f.pids, dockerflag.ParsePids)},
		{"cpus", func() (err error) {
			l.Quota = 0
			l.MilliCPU, err = parseCPUs(f.cpus)
			return err
		}},
		{"cpu-period", func() error { l.Period = f.period; return nil }},
		{"cpu-quota", func() error {
			l.Quota = max(f.quota, 0) // docker's -1 is no limit
			if !said("cpus") {
				l.MilliCPU = 0
			}
			return nil
		}},
		{"cpu-shares", func() error { l.Shares = f.shares; return nil }},
		{"cpuset-cpus", func() error { l.CPUs = f.cpusetCPUs; return nil }},
		{"cpuset-mems", func() error { l.Mems = f.cpusetMems; return nil }},
		{"blkio-weight", func() error { l.IOWeight = f.ioWeight; return nil }},
		{"device-read-bps", rates(l, cgroups.ReadBps, f.readBps)},
		{"device-write-bps", rates(l, cgroups.WriteBps, f.writeBps)},
		{"device-read-iops", rates(l, cgroups.ReadIOPS, f.readIOPS)},
		{"device-write-iops", rates(l, cgroups.WriteIOPS, f.writeIOPS)},
	} {
		if !said(step.flag) {
			continue
		}
		if err := step.do(); err != nil {
			return flagError("--"+step.flag, err)
		}
	}
	return nil
}

func bytesInto(to *int64, value string, parse func(string) (int64, error)) func() error {
	return func() (err error) {
		*to, err = parse(value)
		return err
	}
}

func parseSwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return dockerflag.ParseSize(s)
}

func parseCPUs(s string) (int64, error) { return dockerflag.ParseCPUs(s, goruntime.NumCPU()) }

// rates adds rates of devices, which must be there, or replaces them.
func rates(l *cgroups.Limits, kind cgroups.RateKind, given []string) func() error {
	return func() error {
		l.Rates = slices.Clone(l.Rates)
		for _, g := range given {
			device, rate, err := dockerflag.ParseRate(g, kind.Counts())
			if err != nil {
				return err
			}
			r, err := cgroups.RateOf(kind, device, rate)
			if err != nil {
				return err
			}
			l.SetRate(r)
		}
		return nil
	}
}
