// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/runtime"
)

func updateCommand() command {
	return command{
		name: "update", args: "ID", min: 1, max: 1,
		about: "Change the limits of a container",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var (
				l    runtime.Limits
				file string
			)
			stringAlias(fs, &file, "resources", "r", "take the OCI resources in this JSON `file` (-: standard input) and no other option")
			limitFlags(fs, &l)
			return func(g global, args []string) (int, error) {
				if file != "" {
					r, err := readResources(file)
					if err != nil {
						return 0, fmt.Errorf("update %s: %w", args[0], err)
					}
					l.Resources = r
				}
				return 0, g.Update(args[0], l)
			}
		},
	}
}

func readResources(file string) (specs.LinuxResources, error) {
	if file == "-" {
		return runtime.ReadResources(os.Stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return specs.LinuxResources{}, err
	}
	defer func() { _ = f.Close() }() // only read
	return runtime.ReadResources(f)
}

func limitFlags(fs *flag.FlagSet, l *runtime.Limits) {
	memory, cpu := &specs.LinuxMemory{CheckBeforeUpdate: new(bool)}, &specs.LinuxCPU{}
	blkio, pids := &specs.LinuxBlockIO{}, &specs.LinuxPids{}
	l.Resources = specs.LinuxResources{Memory: memory, CPU: cpu, BlockIO: blkio, Pids: pids}

	number(fs, &blkio.Weight, "blkio-weight", "weight of block device access, 10 to 1000", parseUint16)
	number(fs, &cpu.Period, "cpu-period", "length of a period, in microseconds", parseUint)
	number(fs, &cpu.Quota, "cpu-quota", "CPU time in a period, in microseconds", parseInt)
	number(fs, &cpu.Burst, "cpu-burst", "CPU time that may be saved up, in microseconds", parseUint)
	number(fs, &cpu.Shares, "cpu-share", "weight among containers", parseUint)
	number(fs, &cpu.RealtimePeriod, "cpu-rt-period", "length of a real-time period, in microseconds", parseUint)
	number(fs, &cpu.RealtimeRuntime, "cpu-rt-runtime", "real-time CPU time in a period, in microseconds", parseInt)
	number(fs, &cpu.Idle, "cpu-idle", "1: run only when nothing else wants to; 0: as usual", parseInt)
	fs.StringVar(&cpu.Cpus, "cpuset-cpus", "", "`CPUs` to run on")
	fs.StringVar(&cpu.Mems, "cpuset-mems", "", "memory `nodes` to use")
	number(fs, &memory.Limit, "memory", "memory, in bytes or with a unit; -1: no limit", parseBytes)
	number(fs, &memory.Reservation, "memory-reservation", "memory that is kept when it gets scarce", parseBytes)
	number(fs, &memory.Swap, "memory-swap", "memory and swap together; -1: no limit", parseBytes)
	for _, name := range []string{"kernel-memory", "kernel-memory-tcp"} {
		number(fs, &memory.KernelTCP, name, "ignored", parseBytes)
	}
	number(fs, &pids.Limit, "pids-limit", "number of processes; -1: no limit", parseInt)
	fs.StringVar(&l.L3CacheSchema, "l3-cache-schema", "", "Intel RDT `schema` of the L3 cache")
	fs.StringVar(&l.MemBwSchema, "mem-bw-schema", "", "Intel RDT `schema` of memory bandwidth")
}

// optional is a flag that is nil unless it is given; given empty is not given.
type optional[T any] struct {
	to    **T
	parse func(string) (T, error)
}

func (o *optional[T]) String() string { return "" }

func (o *optional[T]) Set(text string) error {
	if text == "" {
		return nil
	}
	v, err := o.parse(text)
	if err == nil {
		*o.to = &v
	}
	return err
}

func number[T any](fs *flag.FlagSet, to **T, name, usage string, parse func(string) (T, error)) {
	fs.Var(&optional[T]{to, parse}, name, usage)
}

func parseInt(s string) (int64, error)   { return strconv.ParseInt(s, 10, 64) }
func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func parseUint16(s string) (uint16, error) {
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err
}

// parseBytes accepts 512, 1.5g, 32M, 64kb, 1GiB, always in powers of 1024, and -1
// for no limit.
func parseBytes(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	digits := strings.TrimRight(strings.ToLower(s), "bikmgtp ")
	unit := strings.TrimSpace(strings.ToLower(s)[len(digits):])
	for _, suffix := range []string{"ib", "b"} {
		if len(unit) == 1+len(suffix) {
			unit = strings.TrimSuffix(unit, suffix)
		}
	}
	power := strings.Index("bkmgtp", unit) // "" is b
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil || len(unit) > 1 || power < 0 || strings.ContainsAny(digits, "xn_") || value < 0 {
		return 0, fmt.Errorf("%q: want bytes, or a number with k, m, g, t or p", s)
	}
	value *= float64(int64(1) << (10 * power))
	if value >= 1<<63 {
		return 0, fmt.Errorf("%q: too large", s)
	}
	return int64(value), nil
}
