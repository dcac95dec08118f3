// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/format"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
)

type eventsFlags struct {
	since, until, format string
	filters              []string
	json                 bool
}

func (a systemCommands) eventsCommand() *cobra.Command {
	f := &eventsFlags{}
	cmd := &cobra.Command{
		Use:   "events [OPTIONS]",
		Short: "Show the events of sandboxes as they happen",
		Long: `Show the events of sandboxes as they happen.

  life      create, start, attach, exec_start, pause, unpause, update, kill, die, stop, destroy
  limits    oom, pids-max, memory-80 and memory-95 (percent of the limit), cpu-throttled,
            memory-pressure, io-pressure
  network   network-policy (cpc net changed the policy), network-denied (the first
            connections that were denied; cpc net log shows all of them)

A TIME is a date, a number of seconds since 1970, or a duration before now.`,
		Example: `  cpc events --filter event=oom
  cpc events --since 10m --until 0s --filter container=work --format json`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.events(cmd, f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.since, "since", "", "Also show earlier events, since `TIME`")
	fs.StringVar(&f.until, "until", "", "Stop at `TIME`")
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "Show only events with `KEY=VALUE`: container, event, image, label, type")
	fs.StringVar(&f.format, "format", "", "`FORMAT`: json, or a Go template, such as '{{.Action}} {{.Actor.ID}}'")
	fs.BoolVar(&f.json, "json", false, "The same as --format json")
	return cmd
}

func (a systemCommands) events(cmd *cobra.Command, f *eventsFlags) error {
	now := time.Now()
	since, until, err := timeFrame(f.since, f.until)
	if err != nil {
		return usageError{err}
	}
	if since.IsZero() {
		since = now
	}
	keep, err := eventFilter(f.filters)
	if err != nil {
		return usageError{err}
	}
	show, err := eventPrinter(cmd.OutOrStdout(), f)
	if err != nil {
		return usageError{err}
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	each := func(e journal.Event) error {
		if e.At().Before(since) || !until.IsZero() && e.At().After(until) || !keep(e) {
			return nil
		}
		return show(e)
	}
	events := journal.Common(e.Set)
	if !until.IsZero() && !until.After(now) {
		return events.Read(each)
	}
	ctx := cmd.Context()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	if err := events.Follow(ctx, each); err != nil {
		return err
	}
	return cmd.Context().Err() // Ctrl-C is how one ends it
}

// eventFilter makes a test of filters as docker does: of one key any must hold,
// but of labels all; of several keys each.
func eventFilter(filters []string) (func(journal.Event) bool, error) {
	tests := map[string][]func(journal.Event) bool{}
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("--filter %q: must be KEY=VALUE", f)
		}
		test, err := eventTest(key, value)
		if err != nil {
			return nil, fmt.Errorf("--filter %q: %w", f, err)
		}
		if key == "label" { // docker wants all of those
			key = f
		}
		tests[key] = append(tests[key], test)
	}
	return func(e journal.Event) bool {
		for _, any := range tests {
			if !slices.ContainsFunc(any, func(t func(journal.Event) bool) bool { return t(e) }) {
				return false
			}
		}
		return true
	}, nil
}

func eventTest(key, value string) (func(journal.Event) bool, error) {
	switch key {
	case "container", "sandbox":
		return func(e journal.Event) bool {
			return value != "" && (e.Actor.Attributes["name"] == value || strings.HasPrefix(e.Actor.ID, value))
		}, nil
	case "event":
		return func(e journal.Event) bool {
			verb, _, _ := strings.Cut(e.Action, ":") // exec_start: COMMAND
			return e.Action == value || verb == value
		}, nil
	case "image":
		return func(e journal.Event) bool { return e.From == value || strings.HasPrefix(e.From, value+":") }, nil
	case "type":
		return func(e journal.Event) bool { return e.Type == value || value == "sandbox" }, nil
	case "scope":
		return func(e journal.Event) bool { return e.Scope == value }, nil
	case "label":
		name, want, valued := strings.Cut(value, "=")
		return func(e journal.Event) bool {
			got, has := e.Actor.Attributes[name]
			return has && (!valued || got == want)
		}, nil
	}
	if slices.Contains([]string{"config", "daemon", "network", "node", "plugin", "secret", "service", "volume"}, key) {
		return func(journal.Event) bool { return false }, nil // nothing happens to any
	}
	return nil, errors.New("unknown key, choose container, event, image, label, scope or type")
}

func eventPrinter(w io.Writer, f *eventsFlags) (func(journal.Event) error, error) {
	switch {
	case f.json || f.format == "json":
		return func(e journal.Event) error { return format.Line(w, e) }, nil
	case f.format != "":
		t, err := format.Parse(f.format)
		if err != nil {
			return nil, formatError(err)
		}
		if err := t.Check(journal.Event{}); err != nil { // before the first event
			return nil, formatError(err)
		}
		return func(e journal.Event) error {
			line, err := t.Row(e)
			if err != nil {
				return formatError(err)
			}
			_, err = fmt.Fprintln(visible.Writer(w), line)
			return err
		}, nil
	}
	return func(e journal.Event) error {
		_, err := fmt.Fprintln(w, eventLine(e))
		return err
	}, nil
}

// eventLine is docker's line. What a sandbox has chosen is made printable.
func eventLine(e journal.Event) string {
	var more []string
	for k, v := range e.Actor.Attributes {
		more = append(more, visible.Line(k)+"="+visible.Line(v))
	}
	slices.Sort(more)
	return fmt.Sprintf("%s %s %s %s (%s)", e.At().Local().Format("2006-01-02T15:04:05.000000000Z07:00"), e.Type, visible.Line(e.Action),
		e.Actor.ID, strings.Join(more, ", "))
}
