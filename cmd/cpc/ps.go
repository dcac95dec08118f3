// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// psRow is a sandbox as cpc ps shows it. The field names are docker's.
type psRow struct {
	ID         string
	Names      string
	Image      string
	Command    string
	CreatedAt  string
	RunningFor string
	State      string
	Status     string
	Networks   string
	Labels     string
	Pid        int
}

// Name is what one calls it.
func (r psRow) Name() string { return r.Names }

func (a *app) psCommand() *cobra.Command {
	var l listing
	var all bool
	var filters []string
	cmd := &cobra.Command{
		Use: "ps [OPTIONS]", Aliases: []string{"list"}, Short: "List sandboxes", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := parseFilters(filters)
			if err != nil {
				return usageError{err}
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			entries, err := e.Set.List()
			if err != nil {
				return err
			}
			var rows []psRow
			for _, entry := range entries {
				if (all || entry.Record.Status == record.Running || entry.Record.Status == record.Paused) && keep(entry.Record) {
					rows = append(rows, newRow(entry.Record, l.noTrunc))
				}
			}
			if l.quiet && l.format == "" {
				l.format = "{{.ID}}"
			}
			return printRows(cmd.OutOrStdout(), l, []column{
				{"SANDBOX ID", "{{.ID}}"},
				{"IMAGE", "{{.Image}}"},
				{"COMMAND", "{{.Command}}"},
				{"CREATED", "{{.RunningFor}}"},
				{"STATUS", "{{.Status}}"},
				{"NAMES", "{{.Names}}"},
			}, rows)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Show those that have ended, too")
	cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "Show only those with `KEY=VALUE`: name, id, status, ancestor, label")
	l.registerQuiet(cmd, "ids")
	l.register(cmd)
	return cmd
}

// parseFilters makes a test of all filters as docker does: of one key any must
// hold, but of labels all; of several keys each.
func parseFilters(filters []string) (func(*record.Record) bool, error) {
	tests := map[string][]func(*record.Record) bool{}
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("--filter %q: want KEY=VALUE", f)
		}
		test, err := filterTest(key, value)
		if err != nil {
			return nil, fmt.Errorf("--filter %q: %w", f, err)
		}
		if key == "label" {
			key = f
		}
		tests[key] = append(tests[key], test)
	}
	return func(r *record.Record) bool {
		for _, some := range tests {
			if !slices.ContainsFunc(some, func(t func(*record.Record) bool) bool { return t(r) }) {
				return false
			}
		}
		return true
	}, nil
}

func filterTest(key, value string) (func(*record.Record) bool, error) {
	switch key {
	case "name":
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, errors.New("want a regular expression")
		}
		return func(r *record.Record) bool { return pattern.MatchString(r.Name) || pattern.MatchString("/"+r.Name) }, nil
	case "id":
		return func(r *record.Record) bool { return strings.HasPrefix(r.ID, value) }, nil
	case "status":
		return func(r *record.Record) bool { return string(r.Status) == value }, nil
	case "ancestor":
		want, err := rootfs.ParseReference(value)
		return func(r *record.Record) bool {
			if r.Image == value || r.ImageDigest == value {
				return true
			}
			got, gotErr := rootfs.ParseReference(r.Image)
			return err == nil && gotErr == nil && got == want
		}, nil
	case "label":
		name, want, valued := strings.Cut(value, "=")
		return func(r *record.Record) bool {
			got, has := r.Labels[name]
			return has && (!valued || got == want)
		}, nil
	}
	return nil, errors.New("unknown key, choose name, id, status, ancestor or label")
}

func newRow(r *record.Record, noTrunc bool) psRow {
	var labels []string
	for k, v := range r.Labels {
		labels = append(labels, k+"="+v)
	}
	sort.Strings(labels)
	row := psRow{
		ID: r.ID, Names: r.Name, Image: r.Image, Command: quoteCommand(r.Command), CreatedAt: r.Created.Format(time.RFC3339),
		RunningFor: ago(r.Created), State: string(r.Status), Status: describe(r), Networks: r.Settings.Network,
		Labels: strings.Join(labels, ","), Pid: r.PID,
	}
	if !noTrunc {
		row.ID = record.Short(r.ID)
		if c := []rune(row.Command); len(c) > 24 {
			row.Command = string(c[:22]) + `…"`
		}
	}
	return row
}

// quoteCommand shows a command on one line; what it holds is the sandbox's
// choice, so control characters are made visible.
func quoteCommand(args []string) string { return fmt.Sprintf("%q", strings.Join(args, " ")) }

// describe says where a sandbox stands, in words.
func describe(r *record.Record) string {
	switch r.Status {
	case record.Running:
		return "Up " + units.HumanDuration(time.Since(r.Started))
	case record.Paused:
		return "Up " + units.HumanDuration(time.Since(r.Started)) + " (Paused)"
	case record.Exited:
		text := fmt.Sprintf("Exited (%d) %s", r.Outcome.ExitCode, ago(r.Finished))
		if r.Outcome.Reason != "" {
			text += ", " + r.Outcome.Reason
		}
		return text
	case record.Created:
		return "Created"
	case record.Dead:
		return "Dead"
	}
	return string(r.Status)
}
