// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	User       string `json:",omitempty"` // with --all-users: whose it is
	noPsFields

	labels map[string]string
}

// Name is what one calls it.
func (r psRow) Name() string { return r.Names }

// Label is the value of one label.
func (r psRow) Label(name string) string { return r.labels[name] }

type psFlags struct {
	listing
	all, latest, allUsers bool
	last                  int
	filters               []string
}

func (a sandboxCommands) psCommand() *cobra.Command {
	f := &psFlags{}
	cmd := &cobra.Command{
		Use: "ps [OPTIONS]", Aliases: []string{"list"}, Short: "List sandboxes", Args: wants(0, 0),
		Long: `List running sandboxes, newest first. -a lists exited ones, too.

Filters: name=REGEXP, id=ID, status=STATUS, exited=CODE, ancestor=IMAGE,
label=KEY[=VALUE], label!=KEY[=VALUE], before=SANDBOX, since=SANDBOX,
network=NETWORK and health=none. Several values of one key are alternatives;
several labels must all match.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ps(cmd, f) },
	}
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "Show exited sandboxes, too")
	cmd.Flags().BoolVar(&f.allUsers, "all-users", false, "Show the sandboxes of all users (root only)")
	cmd.Flags().BoolVarP(&f.latest, "latest", "l", false, "Show only the newest sandbox, running or exited")
	cmd.Flags().IntVarP(&f.last, "last", "n", -1, "Show only the `N` newest sandboxes, running or exited")
	cmd.Flags().Lookup("last").DefValue = "0" // no default is shown in the help
	cmd.Flags().StringArrayVarP(&f.filters, "filter", "f", nil, "Show only sandboxes that match `KEY=VALUE`")
	f.registerQuiet(cmd, "ids")
	f.register(cmd)
	return cmd
}

func (a sandboxCommands) ps(cmd *cobra.Command, f *psFlags) error {
	if err := f.checkAllUsers(); err != nil {
		return err
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	keep, err := parseFilters(f.filters, a.filterSources(cmd.Context(), e))
	if err != nil {
		return usageError{err}
	}
	entries, err := e.Set.List()
	if err != nil {
		return err
	}
	if f.latest {
		f.last = 1
	}
	all := f.all || f.last > 0 || wantsEnded(f.filters)
	images := lookUpImages(cmd.Context(), a.withStore, entries)
	var rows []psRow
	for _, entry := range entries {
		if f.last > 0 && len(rows) == f.last {
			break
		}
		if (all || entry.Record.Status == record.Running || entry.Record.Status == record.Paused) && keep(entry.Record) {
			row := newRow(entry.Record, f.noTrunc)
			row.Image = images.of(entry.Record, f.noTrunc)
			rows = append(rows, row)
		}
	}
	if f.quiet && f.format == "" {
		f.format = "{{.ID}}"
	}
	columns := []column{
		{"SANDBOX ID", "{{.ID}}"},
		{"IMAGE", "{{.Image}}"},
		{"COMMAND", "{{.Command}}"},
		{"CREATED", "{{.RunningFor}}"},
		{"STATUS", "{{.Status}}"},
		{"NAMES", "{{.Names}}"},
	}
	var failed error
	if f.allUsers {
		var others []psRow
		others, failed = othersRows(cmd.Context(), f.again())
		for i := range rows {
			rows[i].User = "root"
		}
		rows = append(rows, others...)
		columns = append([]column{{"USER", "{{.User}}"}}, columns...)
	}
	return errors.Join(printRows(cmd.OutOrStdout(), f.listing, columns, rows), failed)
}

// again are the flags for other users' cpc ps.
func (f *psFlags) again() (args []string) {
	if f.all {
		args = append(args, "--all")
	}
	if f.noTrunc {
		args = append(args, "--no-trunc")
	}
	for _, filter := range f.filters {
		args = append(args, "--filter", filter)
	}
	return args
}

// checkAllUsers refuses what --all-users cannot be.
func (f *psFlags) checkAllUsers() error {
	switch {
	case f.allUsers && os.Getuid() != 0:
		return errNotRoot
	case f.allUsers && (f.latest || f.last > 0):
		return usageError{errors.New("--all-users cannot be used with --latest or --last")}
	}
	return nil
}

// currentImages are the images that the names of sandboxes stand for now, and the ids of all:
// a name may have moved on, or be gone, while a sandbox runs what it stood for.
type currentImages struct {
	named map[string]string // manifest digest by name, for the platform that is shown
	ids   map[string]string // image id by manifest digest
}

// lookUpImages looks in the caller's store. A store that cannot be read leaves the names.
func lookUpImages(ctx context.Context, withStore func(func(*rootfs.Store) error) error, entries []*record.Entry) currentImages {
	c := currentImages{named: map[string]string{}, ids: map[string]string{}}
	if len(entries) == 0 {
		return c
	}
	_ = withStore(func(store *rootfs.Store) error {
		for _, e := range entries {
			name, digest := e.Record.Asked.Image, e.Record.Asked.ImageDigest
			if _, known := c.named[name]; !known {
				c.named[name] = ""
				if img, err := store.Image(ctx, name); err == nil {
					c.named[name] = img.Digest.String()
					if _, err := store.Image(ctx, name+"@"+digest); err == nil && img.Index != "" {
						c.named[name] = digest // of another platform, by the same name
					}
				}
			}
			if _, known := c.ids[digest]; !known && digest != "" {
				c.ids[digest] = digest
				if img, err := store.Image(ctx, digest); err == nil {
					c.ids[digest] = img.ConfigDigest.String()
				}
			}
		}
		return nil
	})
	return c
}

// of names the image that a sandbox runs: as it was named, or by its id, as docker does,
// where that name stands for another image now, or for none.
func (c currentImages) of(r *record.Record, noTrunc bool) string {
	name, digest := r.Asked.Image, r.Asked.ImageDigest
	current, looked := c.named[name]
	if !looked || digest == "" || current == digest {
		return name
	}
	id := c.ids[digest]
	if noTrunc {
		return id
	}
	return shortDigest(id)
}

func newRow(r *record.Record, noTrunc bool) psRow {
	var labels []string
	for k, v := range r.Asked.Labels {
		labels = append(labels, k+"="+v)
	}
	sort.Strings(labels)
	row := psRow{
		ID: r.ID, Names: r.Name, Image: r.Asked.Image, Command: quoteCommand(r.Command()), CreatedAt: r.Created.Format(time.RFC3339),
		RunningFor: ago(r.Created), State: string(r.Status), Status: describe(r), Networks: r.Asked.Options.Network,
		Labels: strings.Join(labels, ","), Pid: r.PID, labels: r.Asked.Labels, noPsFields: noPsFields{LocalVolumes: "0", Ports: strings.Join(r.Asked.Options.Expose, ", ")},
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
