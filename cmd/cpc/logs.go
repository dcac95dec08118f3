// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
)

type logsFlags struct {
	follow, timestamps bool
	tail               string
}

func (a *app) logsCommand() *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] SANDBOX", Short: "Show what a sandbox has printed", Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.logs(cmd.Context(), f, args[0])
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "Go on until the sandbox ends")
	cmd.Flags().BoolVarP(&f.timestamps, "timestamps", "t", false, "Show when each line was begun")
	cmd.Flags().StringVarP(&f.tail, "tail", "n", "all", "Show only the last `LINES`")
	return cmd
}

func (a *app) logs(ctx context.Context, f *logsFlags, name string) error {
	lines, err := parseTail(f.tail)
	if err != nil {
		return usageError{err}
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	entry, err := e.Set.Find(name)
	if err != nil {
		return err
	}
	p := &logPrinter{timestamps: f.timestamps, midLine: map[bool]bool{}}
	if lines >= 0 && !f.follow {
		return logfile.Tail(entry.DataDir, lines, p.print)
	}
	if !f.follow {
		return logfile.Read(entry.DataDir, p.print)
	}
	if lines >= 0 {
		show := p.print
		if lines == 0 {
			show = func(e logfile.Entry) error { p.last = e.Time; return nil }
			lines = 1
		}
		if err := logfile.Tail(entry.DataDir, lines, show); err != nil {
			return err
		}
		p.from = p.last
	}
	return logfile.Follow(ctx, entry.DataDir, func() bool { return !entry.Attended() }, p.print)
}

// parseTail returns -1 for all lines.
func parseTail(s string) (int, error) {
	if s == "all" || s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("--tail %q: want a number of lines, or all", s)
	}
	return max(n, -1), nil
}

// logPrinter prints entries to the streams that they were printed to.
type logPrinter struct {
	timestamps bool
	from, last time.Time     // entries up to from are left out
	midLine    map[bool]bool // of the error output or not
}

func (p *logPrinter) print(e logfile.Entry) error {
	if !p.from.IsZero() && !e.Time.After(p.from) {
		return nil
	}
	p.last = e.Time
	var out io.Writer = os.Stdout
	failing := e.Stream == logfile.Stderr
	if failing {
		out = os.Stderr
	}
	if !p.timestamps {
		_, err := out.Write(e.Data)
		return err
	}
	for len(e.Data) > 0 {
		if !p.midLine[failing] {
			if _, err := fmt.Fprint(out, e.Time.Format(time.RFC3339Nano), " "); err != nil {
				return err
			}
		}
		line := e.Data
		if i := bytes.IndexByte(line, 0x0a); i >= 0 {
			line = line[:i+1]
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		p.midLine[failing] = line[len(line)-1] != '\n'
		e.Data = e.Data[len(line):]
	}
	return nil
}
