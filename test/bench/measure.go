// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// operation is one thing to measure. before and after are not.
type operation struct {
	name          string
	before, steps [][]string // arguments of the runtime; ID is the container
	after         []string
	args          []string // the container's command
	bwrap         bool     // bubblewrap can do it too
}

func operations() []operation {
	return []operation{
		{name: "run", steps: [][]string{{"run", "ID"}}, args: []string{"/true"}, bwrap: true},
		{name: "create+start+delete", steps: [][]string{{"create", "ID"}, {"start", "ID"}, {"delete", "--force", "ID"}}, args: []string{"/true", "wait"}},
		{
			name: "exec", steps: [][]string{{"exec", "ID", "/true"}}, args: []string{"/true", "wait"},
			before: [][]string{{"run", "--detach", "ID"}}, after: []string{"delete", "--force", "ID"},
		},
		{
			name: "further exec", steps: [][]string{{"exec", "ID", "/true"}}, args: []string{"/true", "wait"},
			before: [][]string{{"run", "--detach", "ID"}, {"exec", "ID", "/true"}}, after: []string{"delete", "--force", "ID"},
		},
	}
}

// sample is what one round took, of the runtime and the processes it waits for.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // KiB
}

func (s *sample) add(o sample) {
	s.wall, s.cpu, s.peak = s.wall+o.wall, s.cpu+o.cpu, max(s.peak, o.peak)
}

// series are the times of an operation: by runtime, one a round.
type series struct {
	runtimes []contender
	times    [][]sample
	peaks    []int64 // KiB
}

func measure(b *bundle, op operation, runtimes []contender, rounds int) (*series, error) {
	s := &series{}
	for _, r := range runtimes {
		if r.bwrap() && !op.bwrap {
			continue
		}
		// Once for caches, for peaks, and to see who can do this at all.
		b.peaks = true
		first, err := once(b, op, r)
		b.peaks = false
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s cannot %s: %v\n", r.name, op.name, err)
			continue
		}
		s.runtimes, s.peaks = append(s.runtimes, r), append(s.peaks, first.peak)
	}
	s.times = make([][]sample, len(s.runtimes))
	failed := make([]bool, len(s.runtimes))
	for round := range rounds {
		for i := range s.runtimes {
			i = (i + round) % len(s.runtimes) // nobody always comes first
			if failed[i] {
				continue
			}
			t, err := once(b, op, s.runtimes[i])
			if err == nil {
				s.times[i] = append(s.times[i], t)
				continue
			}
			err = fmt.Errorf("%s: %s: %w", s.runtimes[i].name, op.name, err)
			if i == 0 { // the others are measured by it
				return nil, err
			}
			fmt.Fprintln(os.Stderr, "bench: left out:", err)
			failed[i], s.times[i] = true, nil
		}
	}
	return s, nil
}

func once(b *bundle, op operation, r contender) (total sample, err error) {
	defer func() {
		if err != nil && !r.bwrap() {
			_, _ = b.call(r, []string{"delete", "--force", "ID"}) // whatever there is
		}
		reap()
	}()
	if err := b.write(op.args...); err != nil {
		return total, err
	}
	for _, step := range op.before {
		if _, err := b.call(r, step); err != nil {
			return total, err
		}
	}
	for _, step := range op.steps {
		one, err := b.call(r, step)
		if err != nil {
			return total, err
		}
		total.add(one)
	}
	if op.after != nil {
		_, err = b.call(r, op.after)
	}
	return total, err
}

// reap collects the containers that a pid namespace leaves to its first process.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}

// call runs one command.
func (b *bundle) call(r contender, step []string) (sample, error) {
	id := fmt.Sprintf("c%d", b.made)
	args := []string{"--root", filepath.Join(b.dir, "state-"+r.name)}
	if b.stage != asRoot {
		args = append(args, "--rootless", "true")
	}
	for _, a := range step {
		args = append(args, strings.ReplaceAll(a, "ID", id))
	}
	if r.bwrap() {
		args = strings.Fields("--unshare-all --ro-bind rootfs / --proc /proc --dev /dev --tmpfs /tmp /true")
	}
	if strings.HasPrefix(r.name, "crun") {
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--rootless" || a == "true" })
	}
	cmd := exec.Command(r.program, args...)
	peak := filepath.Join(b.dir, "peak.out")
	if b.peaks {
		cmd = exec.Command(filepath.Join(b.dir, "peak"), append([]string{peak, r.program}, args...)...)
	}
	cmd.Dir = b.dir
	out, err := os.OpenFile(filepath.Join(b.dir, "out"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = out.Close() }()
	cmd.Stderr = out
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		text, _ := os.ReadFile(out.Name())
		return sample{}, fmt.Errorf("%v: %w: %s", args, err, text)
	}
	s := sample{wall: took, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if b.peaks {
		text, err := os.ReadFile(peak)
		if err == nil {
			s.peak, err = strconv.ParseInt(string(text), 10, 64)
		}
		return s, err
	}
	return s, nil
}

func (s *series) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %-14s %9s %6s %15s %9s %8s %8s\n", "", "time", "ratio", "quartiles", "CPU time", "ratio", "peak")
	for i, r := range s.runtimes {
		if len(s.times[i]) == 0 {
			continue
		}
		var wall, cpu, wallRatio, cpuRatio []float64
		for n, t := range s.times[i] {
			first := s.times[0][n]
			wall, cpu = append(wall, float64(t.wall)/1e6), append(cpu, float64(t.cpu)/1e6)
			wallRatio = append(wallRatio, float64(t.wall)/float64(first.wall))
			cpuRatio = append(cpuRatio, float64(t.cpu)/float64(first.cpu))
		}
		fmt.Fprintf(&b, "  %-14s %6.1f ms %6.2f %6.2f … %6.2f %6.1f ms %8.2f %5.1f MB\n", r.name, at(wall, 0.5), at(wallRatio, 0.5),
			at(wallRatio, 0.25), at(wallRatio, 0.75), at(cpu, 0.5), at(cpuRatio, 0.5), float64(s.peaks[i])/1024)
	}
	return b.String()
}

// at is the value that a part of all values is below.
func at(values []float64, part float64) float64 {
	slices.Sort(values)
	return values[int(part*float64(len(values)-1)+0.5)]
}
