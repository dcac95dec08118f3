// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/format"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// statsRow is a sandbox as cpc stats shows it. The first are docker's fields.
type statsRow struct {
	Container string // as it was named
	ID        string
	Name      string
	CPUPerc   string
	MemUsage  string
	MemPerc   string
	NetIO     string
	BlockIO   string
	PIDs      string

	PIDsLimit string
	Tmpfs     string        // of the memory
	Pressure  string        // CPU, memory and block I/O, in percent of the time
	Usage     *sandbox.Load `json:",omitempty"` // the same in numbers
}

type statsFlags struct {
	listing
	all, noStream bool
}

func (a sandboxCommands) statsCommand() *cobra.Command {
	f := &statsFlags{}
	cmd := &cobra.Command{
		Use:   "stats [OPTIONS] [SANDBOX...]",
		Short: "Show a live view of the resource usage of sandboxes",
		Long: `Show the resource usage of the given sandboxes, or of all running ones.

  MEM USAGE   memory in use, without the page cache that the kernel can drop
  TMPFS       the part of that memory that files in memory occupy
  PRESSURE    percent of the last ten seconds in which some process waited for
              CPU, memory and block I/O (cgroup v2)`,
		Args: wants(0, many),
		RunE: func(cmd *cobra.Command, args []string) error { return a.stats(cmd, f, args) },
	}
	f.register(cmd)
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "Show exited sandboxes, too")
	cmd.Flags().BoolVar(&f.noStream, "no-stream", false, "Show the usage once and exit")
	cmd.Flags().BoolVar(&f.noTrunc, "no-trunc", false, "Do not truncate output")
	return cmd
}

const (
	// statsInterval is between two tables.
	statsInterval = time.Second
	// statsOnce is how long is looked to tell the use of the CPU once.
	statsOnce = 500 * time.Millisecond
)

func (a sandboxCommands) stats(cmd *cobra.Command, f *statsFlags, names []string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	last, err := e.Loads(names)
	if err != nil {
		return err
	}
	out := &statsOutput{to: os.Stdout, listing: f.listing, screen: !f.noStream && terminal.Is(os.Stdout)}
	wait := statsInterval
	if f.noStream {
		wait = statsOnce
	}
	for first := true; ; first = false {
		if err := pause(cmd.Context(), wait); err != nil {
			return err
		}
		now, err := e.Loads(names)
		// A sandbox that is gone by now is no error, unless all are.
		if errors.Is(err, record.ErrNotFound) && !first && len(now) > 0 {
			err = nil
		}
		if err != nil {
			return err
		}
		if err := out.print(f.rows(now, last), f.noStream); err != nil || f.noStream {
			return err
		}
		last = now
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// rows compares two looks. Without names, only what runs is shown, or all.
func (f *statsFlags) rows(now, last []sandbox.Load) []statsRow {
	before := map[string]sandbox.Load{}
	for _, l := range last {
		before[l.ID] = l
	}
	var rows []statsRow
	for _, l := range now {
		if !l.Running && !f.all && !l.Named {
			continue
		}
		was, ok := before[l.ID]
		rows = append(rows, f.row(l, was, ok))
	}
	return rows
}

const unknown = "--"

func (f *statsFlags) row(l, was sandbox.Load, hasWas bool) statsRow {
	id := l.ID
	if !f.noTrunc {
		id = record.Short(id)
	}
	r := statsRow{
		Container: l.Asked, ID: id, Name: l.Name, CPUPerc: unknown, MemUsage: unknown + " / " + unknown, MemPerc: unknown, NetIO: unknown,
		BlockIO: unknown, PIDs: unknown, PIDsLimit: unknown, Tmpfs: unknown, Pressure: unknown,
	}
	if l.Network != nil {
		r.NetIO = pair(l.Network.Received, l.Network.Sent)
	}
	u := l.Cgroup
	if u == nil {
		return r
	}
	if hasWas && was.Cgroup != nil && u.At.After(was.Cgroup.At) {
		l.CPUPercent = 100 * float64(u.CPU-was.Cgroup.CPU) / float64(u.At.Sub(was.Cgroup.At))
	}
	r.CPUPerc = fmt.Sprintf("%.2f%%", max(l.CPUPercent, 0))
	used, limit := float64(u.Memory-min(u.Inactive, u.Memory)), float64(u.MemoryLimit)
	if limit == 0 {
		limit = float64(l.HostMemory)
	}
	r.MemUsage = units.BytesSize(used) + " / " + units.BytesSize(limit)
	if limit > 0 {
		r.MemPerc = fmt.Sprintf("%.2f%%", 100*used/limit)
	}
	r.BlockIO, r.PIDs, r.Tmpfs = pair(u.Read, u.Written), fmt.Sprint(u.Pids), units.BytesSize(float64(u.Tmpfs))
	if u.PidsLimit > 0 {
		r.PIDsLimit = fmt.Sprint(u.PidsLimit)
	}
	if p := u.Pressure; p != nil {
		r.Pressure = fmt.Sprintf("%.0f/%.0f/%.0f", p.CPU, p.Memory, p.IO)
	}
	r.Usage = &l
	return r
}

func pair(a, b uint64) string {
	return units.HumanSizeWithPrecision(float64(a), 3) + " / " + units.HumanSizeWithPrecision(float64(b), 3)
}

// statsOutput shows tables one over the other on a terminal, else one after the
// other.
type statsOutput struct {
	to io.Writer
	listing
	screen, begun bool
}

func (o *statsOutput) print(rows []statsRow, once bool) error {
	if o.json && !once { // a line for each, as an array would never end
		for _, r := range rows {
			if err := format.Line(o.to, r); err != nil {
				return err
			}
		}
		return nil
	}
	var b bytes.Buffer
	if err := printRows(&b, o.listing, []column{
		{"SANDBOX ID", "{{.ID}}"},
		{"NAME", "{{.Name}}"},
		{"CPU %", "{{.CPUPerc}}"},
		{"MEM USAGE / LIMIT", "{{.MemUsage}}"},
		{"MEM %", "{{.MemPerc}}"},
		{"TMPFS", "{{.Tmpfs}}"},
		{"NET I/O", "{{.NetIO}}"},
		{"BLOCK I/O", "{{.BlockIO}}"},
		{"PIDS / LIMIT", "{{.PIDs}} / {{.PIDsLimit}}"},
		{"PRESSURE", "{{.Pressure}}"},
	}, rows); err != nil {
		return err
	}
	text := b.Bytes()
	if o.screen {
		const home, eraseLine, eraseBelow = "\x1b[H", "\x1b[K\n", "\x1b[J"
		text = bytes.ReplaceAll(text, []byte("\n"), []byte(eraseLine))
		text = append([]byte(home), append(text, eraseBelow...)...)
		if !o.begun {
			text = append([]byte("\x1b[2J"), text...)
		}
		o.begun = true
	}
	_, err := o.to.Write(text)
	return err
}
