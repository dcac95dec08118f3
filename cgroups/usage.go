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
	At  time.Time     `json:"at"`
	CPU time.Duration `json:"cpu"` // nanoseconds since its start
	// Throttled are how many of Periods ended with the CPU limit used up.
	Periods   uint64 `json:"periods"`
	Throttled uint64 `json:"throttled"`

	Memory      uint64 `json:"memory"`      // bytes, page cache and tmpfs included
	MemoryLimit uint64 `json:"memoryLimit"` // 0: none
	Inactive    uint64 `json:"inactive"`    // of Memory: files that can be dropped
	Tmpfs       uint64 `json:"tmpfs"`       // of Memory: tmpfs and shared memory

	Pids      uint64 `json:"pids"`
	PidsLimit uint64 `json:"pidsLimit"` // 0: none

	Read     uint64    `json:"read"`    // bytes from block devices
	Written  uint64    `json:"written"` // bytes to block devices
	Pressure *Pressure `json:"pressure,omitempty"`
}

// Pressure is how much of the last ten seconds some process waited for what
// others had, in percent (PSI). It is nil on v1.
type Pressure struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	IO     float64 `json:"io"`
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
	dir := func(controller string) string {
		d, err := at(controller)
		if err != nil {
			return "/nowhere" // not accounted
		}
		return d
	}
	u := Usage{At: time.Now()}
	u.Pids, u.PidsLimit = number(dir(ctrlPids), "pids.current"), number(dir(ctrlPids), "pids.max")
	stat := filepath.Join(dir(ctrlCPU), "cpu.stat")
	u.Periods, u.Throttled = keyed(stat, "nr_periods"), keyed(stat, "nr_throttled")
	memory := dir(ctrlMemory)
	memoryStat := filepath.Join(memory, "memory.stat")
	if p.Layout == Unified {
		u.CPU = time.Duration(keyed(stat, "usage_usec")) * time.Microsecond //nolint:gosec // 292 years
		u.Memory, u.MemoryLimit = number(memory, "memory.current"), number(memory, "memory.max")
		u.Inactive, u.Tmpfs = keyed(memoryStat, "inactive_file"), keyed(memoryStat, "shmem")
		u.Read, u.Written = ioStat(filepath.Join(dir(ctrlIO), "io.stat"))
		u.Pressure = pressure(memory)
		return u, nil
	}
	u.CPU = time.Duration(number(dir("cpuacct"), "cpuacct.usage")) //nolint:gosec // 292 years of nanoseconds
	u.Memory, u.MemoryLimit = number(memory, "memory.usage_in_bytes"), number(memory, "memory.limit_in_bytes")
	if u.MemoryLimit >= noLimit {
		u.MemoryLimit = 0
	}
	u.Inactive, u.Tmpfs = keyed(memoryStat, "total_inactive_file"), keyed(memoryStat, "total_shmem")
	u.Read, u.Written = blkio(filepath.Join(dir(ctrlIO), "blkio.throttle.io_service_bytes_recursive"))
	return u, nil
}

func pressure(dir string) *Pressure {
	var p Pressure
	for file, to := range map[string]*float64{"cpu.pressure": &p.CPU, "memory.pressure": &p.Memory, "io.pressure": &p.IO} {
		data, err := readBounded(filepath.Join(dir, file))
		if err != nil {
			return nil
		}
		*to = parseSome(data)
	}
	return &p
}

// ioStat adds up what io.stat says of all devices.
func ioStat(file string) (read, written uint64) {
	data, err := readBounded(file)
	if err != nil {
		return 0, 0
	}
	for field := range strings.FieldsSeq(data) {
		key, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case err != nil:
		case key == "rbytes":
			read += n
		case key == "wbytes":
			written += n
		}
	}
	return read, written
}

// blkio is ioStat for v1, whose lines are MAJOR:MINOR Read BYTES and the like.
func blkio(file string) (read, written uint64) {
	data, err := readBounded(file)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 64)
		switch {
		case err != nil:
		case f[1] == "Read":
			read += n
		case f[1] == "Write":
			written += n
		}
	}
	return read, written
}
