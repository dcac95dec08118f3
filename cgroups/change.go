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

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Change is the plan with other limits, and what to tell the OCI runtime to get
// there. Nothing is changed yet: see [Plan.Ready].
func (p Plan) Change(to Limits) (Plan, *specs.LinuxResources, error) {
	if p.Path == "" {
		return p, nil, fmt.Errorf("change limits: %w", ErrNoCgroup)
	}
	if err := errors.Join(to.Validate(), p.reachable(to)); err != nil {
		return p, nil, fmt.Errorf("change limits: %w", err)
	}
	r := p.resources(to, p.Limits)
	if r.Memory != nil {
		check := true // else what is in use above a new limit is killed for it
		r.Memory.CheckBeforeUpdate = &check
	}
	p.Limits = to
	return p, r, nil
}

// Changes are the limits of l that other values had in from, as words that a shell
// takes for flags of cpc update: what they were, and what they are.
func (l Limits) Changes(from Limits) (was, is string) {
	var before, now []string
	have := l.words()
	for i, w := range from.words() {
		if w != have[i] {
			before, now = append(before, w), append(now, have[i])
		}
	}
	return strings.Join(before, " "), strings.Join(now, " ")
}

// words are all limits in words, in fixed order.
func (l Limits) words() []string {
	oom := "process"
	if l.OOMGroup {
		oom = "sandbox"
	}
	rates := make([]string, 0, len(l.Rates))
	for _, r := range l.Rates {
		rates = append(rates, fmt.Sprintf("%s:%s=%d", r.Device, r.Kind, r.Rate))
	}
	slices.Sort(rates)
	return []string{
		fmt.Sprintf("memory=%d", l.Memory), fmt.Sprintf("memory-swap=%d", l.Swap), fmt.Sprintf("memory-reservation=%d", l.Reservation),
		fmt.Sprintf("memory-high=%d", l.High), "oom=" + oom, fmt.Sprintf("cpus=%g", l.Processors()), fmt.Sprintf("cpu-shares=%d", l.Shares),
		"cpuset-cpus=" + l.CPUs, "cpuset-mems=" + l.Mems, fmt.Sprintf("pids-limit=%d", l.Pids), fmt.Sprintf("blkio-weight=%d", l.IOWeight),
		"device-rates=" + strings.Join(rates, ","),
	}
}

// reachable refuses what cannot be changed on a cgroup that is in use.
func (p Plan) reachable(to Limits) error {
	for _, part := range to.parts() {
		if part.set && !slices.Contains(p.Controllers, part.controller) {
			return fmt.Errorf("%s: the %s controller does not reach this sandbox", part.name, part.controller)
		}
	}
	if to.CPUs == "" && p.Limits.CPUs != "" || to.Mems == "" && p.Limits.Mems != "" {
		return errors.New("cpuset: name the processors or nodes to use; to have all, name all")
	}
	for _, have := range p.Limits.Rates {
		if !slices.ContainsFunc(to.Rates, func(r Rate) bool {
			return r.Kind == have.Kind && r.Major == have.Major && r.Minor == have.Minor
		}) {
			return fmt.Errorf("device %s: a rate can be changed, not taken away", have.Device)
		}
	}
	return nil
}

// Ready makes ready for the limits of a changed plan, in the cgroup of pid: the
// controllers are turned on, and memory above a new limit is taken back as far
// as that goes. What then still is above it is an error, rather than killed.
func (p Plan) Ready(pid int) error {
	if p.Layout != Unified {
		return nil // v1 has no such switch, and takes back memory itself
	}
	if err := p.enable(filepath.Dir(p.Dirs[0])); err != nil {
		return err
	}
	limit := p.Limits.Memory
	if limit == 0 {
		return nil
	}
	at, err := p.locate(pid)
	if err != nil {
		return err
	}
	dir, err := at(ctrlMemory)
	if err != nil {
		return err
	}
	used := number(dir, "memory.current")
	if most := uint64(limit); used > most { //nolint:gosec // positive
		// Only files can be dropped; to look for more takes the kernel long.
		stat := filepath.Join(dir, "memory.stat")
		if files := keyed(stat, "inactive_file") + keyed(stat, "active_file"); used-most <= files {
			reclaim(dir, used-most)
			used = number(dir, "memory.current")
		}
		if used > most {
			return fmt.Errorf("memory limit of %d bytes: the sandbox uses %d", limit, used)
		}
	}
	return nil
}

// reclaim has the kernel take memory back (since Linux 5.19); how far that went, a
// look at what is used tells. The kernel answers EAGAIN if it was not all, for
// which a file of package os would wait.
func reclaim(dir string, n uint64) {
	fd, err := unix.Open(filepath.Join(dir, "memory.reclaim"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte(strconv.FormatUint(n, 10))) // see above
	_ = unix.Close(fd)                                       // nothing is buffered
}

// Thaw lets a frozen sandbox go on. On v1 a frozen process cannot even be
// killed.
func (p Plan) Thaw() error {
	var errs []error
	for _, dir := range p.Dirs {
		if p.owns(dir) {
			errs = append(errs, writeIfThere(filepath.Join(dir, "freezer.state"), "THAWED"),
				writeIfThere(filepath.Join(dir, "cgroup.freeze"), "0"))
		}
	}
	return errors.Join(errs...)
}

// number reads a file that holds one; what is no number, such as max, is 0.
func number(dir, file string) uint64 {
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

// Revert says what to tell the OCI runtime to undo a change to the limits of
// other that was refused or done by half, and undoes what no runtime can.
func (p Plan) Revert(other Limits, pid int) (*specs.LinuxResources, error) {
	r := p.resources(p.Limits, other)
	at, err := p.locate(pid)
	if err != nil {
		return r, err
	}
	for _, list := range []struct{ file, have, had string }{
		{"cpuset.cpus", p.Limits.CPUs, other.CPUs}, {"cpuset.mems", p.Limits.Mems, other.Mems},
	} {
		if list.have != "" || list.had == "" {
			continue
		}
		dir, err := at(ctrlCPUSet)
		if err != nil {
			return r, err
		}
		all := "\n" // those of the parent
		if p.Layout != Unified {
			if all, err = readBounded(filepath.Join(filepath.Dir(dir), list.file)); err != nil {
				return r, err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, list.file), []byte(all), 0o600); err != nil {
			return r, err
		}
	}
	return r, nil
}
