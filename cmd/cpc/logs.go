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
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

type logsFlags struct {
	follow, timestamps bool
	tail, since, until string
}

func (a sandboxCommands) logsCommand() *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] SANDBOX", Short: "Show the logs of a sandbox", Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.logs(cmd, f, args[0])
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "Follow the output until the sandbox exits")
	cmd.Flags().BoolVarP(&f.timestamps, "timestamps", "t", false, "Show the time of each line")
	cmd.Flags().StringVar(&f.since, "since", "", "Show only lines since `TIME`: a date, seconds since 1970, or a duration before now (10m)")
	cmd.Flags().StringVar(&f.until, "until", "", "Show only lines before `TIME`")
	cmd.Flags().StringVarP(&f.tail, "tail", "n", "all", "Show only the last `LINES`")
	return cmd
}

func (a sandboxCommands) logs(cmd *cobra.Command, f *logsFlags, name string) error {
	lines, err := parseTail(f.tail)
	if err != nil {
		return usageError{err}
	}
	since, until, err := timeFrame(f.since, f.until)
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
	if entry.Record.Asked.Options.NoLog {
		return errors.New(name + " was started with --log-driver none: nothing that it prints is kept")
	}
	p := &logPrinter{timestamps: f.timestamps, since: since, until: until, midLine: map[bool]bool{}}
	if f.follow && (until.IsZero() || until.After(time.Now())) {
		return p.follow(cmd.Context(), entry, lines)
	}
	if lines >= 0 {
		return logfile.Tail(entry.DataDir, lines, p.print)
	}
	return logfile.Read(entry.DataDir, p.print)
}

// timeFrame reads --since and --until; the zero time is none.
func timeFrame(since, until string) (from, to time.Time, err error) {
	now := time.Now()
	if since != "" {
		if from, err = dockerflag.ParseTime(since, now); err != nil {
			return from, to, flagError("--since", err)
		}
	}
	if until != "" {
		if to, err = dockerflag.ParseTime(until, now); err != nil {
			return from, to, flagError("--until", err)
		}
	}
	return from, to, nil
}

// follow prints the last lines, if not all, and what comes until the sandbox or
// the time ends.
func (p *logPrinter) follow(ctx context.Context, entry *record.Entry, lines int) error {
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
	within := ctx
	if !p.until.IsZero() {
		var cancel context.CancelFunc
		within, cancel = context.WithDeadline(ctx, p.until)
		defer cancel()
	}
	err := logfile.Follow(within, entry.DataDir, func() bool { return !entry.Attended() }, p.print)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// parseTail returns -1 for all lines.
func parseTail(s string) (int, error) {
	if s == "all" || s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("--tail %q: must be a number of lines, or all", s)
	}
	return max(n, -1), nil
}

// logPrinter prints entries to the streams that they were printed to.
type logPrinter struct {
	timestamps bool
	from, last time.Time // entries up to from are left out

	since, until time.Time // what is shown; zero is no bound

	midLine map[bool]bool // of the error output or not
}

func (p *logPrinter) print(e logfile.Entry) error {
	if !p.from.IsZero() && !e.Time.After(p.from) {
		return nil
	}
	p.last = e.Time
	if e.Time.Before(p.since) || !p.until.IsZero() && e.Time.After(p.until) {
		return nil
	}
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
