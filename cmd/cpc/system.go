// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func (a systemCommands) systemGroup() *cobra.Command {
	return group("system", "Manage disk space and show information about the system", a.dfCommand(), a.systemPruneCommand(), a.resetCommand(), a.checkCommand(), a.eventsCommand(), a.infoCommand())
}

// dfRow is a kind of thing as cpc system df shows it. The field names are docker's.
type dfRow struct {
	Type        string
	TotalCount  string
	Active      string
	Size        string
	Reclaimable string
}

func (a systemCommands) dfCommand() *cobra.Command {
	var l listing
	var verbose bool
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show disk usage of images, sandboxes and the build cache", Args: wants(0, 0),
		Long: `Show how much disk images, sandboxes and the build cache take. What nothing uses is removed
by cpc system prune, images by cpc rmi, and everything by cpc system reset (rm -rf
cannot remove the files of a user's images).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				if verbose {
					return a.dfVerbose(cmd, store, l)
				}
				busy := working("Measuring the store", false)
				rows, err := a.dfRows(cmd.Context(), store)
				busy.end()
				if err != nil {
					return err
				}
				return printRows(cmd.OutOrStdout(), l, []column{
					{"TYPE", "{{.Type}}"},
					{"TOTAL", "{{.TotalCount}}"},
					{"ACTIVE", "{{.Active}}"},
					{"SIZE", "{{.Size}}"},
					{"RECLAIMABLE", "{{.Reclaimable}}"},
				}, rows)
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show the usage of each image")
	l.register(cmd)
	return cmd
}

func (a systemCommands) dfRows(ctx context.Context, store *rootfs.Store) ([]dfRow, error) {
	u, err := store.Usage(ctx)
	if err != nil {
		return nil, err
	}
	all, err := record.Set{Dirs: a.inside.Dirs}.List()
	if err != nil {
		return nil, err
	}
	running := 0
	for _, e := range all {
		if e.Record.Status == record.Running {
			running++
		}
	}
	size := func(n int64) string { return units.HumanSize(float64(n)) }
	images := u.Blobs + u.Layers - u.CacheOnly
	return []dfRow{
		{"Images", strconv.Itoa(u.Images), strconv.Itoa(u.ActiveImages), size(images), withPercent(u.Reclaimable, images)},
		{"Sandboxes", strconv.Itoa(len(all)), strconv.Itoa(running), size(u.Scratch), size(0)},
		{"Build Cache", strconv.Itoa(u.Cached), "0", size(u.CacheOnly + u.CacheMounts), size(u.CacheOnly + u.CacheMounts)},
	}, nil
}

func withPercent(part, of int64) string {
	text := units.HumanSize(float64(part))
	if of > 0 {
		text += fmt.Sprintf(" (%d%%)", part*100/of)
	}
	return text
}

// dfImage is an image as cpc system df -v shows it.
type dfImage struct {
	Repository, Tag, ID, CreatedSince string
	Size, SharedSize, UniqueSize      string
	InUse                             bool
}

func (a systemCommands) dfVerbose(cmd *cobra.Command, store *rootfs.Store, l listing) error {
	busy := working("Measuring the images", false)
	usages, err := store.ImageUsages(cmd.Context())
	busy.end()
	var rows []dfImage
	for _, u := range usages {
		for _, r := range imageRows(u.Image, func(*rootfs.Image, string) bool { return true }, l.noTrunc) {
			rows = append(rows, dfImage{
				Repository: r.Repository, Tag: r.Tag, ID: r.ID, CreatedSince: r.CreatedSince, InUse: u.InUse,
				Size: units.HumanSize(float64(u.Size)), SharedSize: units.HumanSize(float64(u.Shared)),
				UniqueSize: units.HumanSize(float64(u.Size - u.Shared)),
			})
		}
	}
	return errors.Join(printRows(cmd.OutOrStdout(), l, []column{
		{"REPOSITORY", "{{.Repository}}"},
		{"TAG", "{{.Tag}}"},
		{"IMAGE ID", "{{.ID}}"},
		{"CREATED", "{{.CreatedSince}}"},
		{"SIZE", "{{.Size}}"},
		{"SHARED SIZE", "{{.SharedSize}}"},
		{"UNIQUE SIZE", "{{.UniqueSize}}"},
		{"IN USE", "{{.InUse}}"},
	}, rows), err)
}

// errDamaged reports that the store is not sound; what is wrong has been said.
var errDamaged = hint.New("the image store is damaged",
	"Repair it with: cpc system check --repair")

func (a systemCommands) checkCommand() *cobra.Command {
	var repair bool
	var l listing
	cmd := &cobra.Command{
		Use: "check [OPTIONS]", Short: "Check the image store for damage, and repair it", Args: wants(0, 0),
		Long: `Verify every blob and every unpacked layer of the image store, and search for
missing, incomplete and left-over files. Left-over files are not damage: without
anything else the exit status is 0.

With --repair, damaged layers are unpacked again, damaged images are removed from
the list so that they can be pulled, loaded or built again, and left-over files are
deleted.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				busy := working("Checking the store", false)
				found, err := store.Check(cmd.Context(), repair)
				busy.end()
				if printErr := tellFindings(cmd.OutOrStdout(), l, found); err == nil {
					err = printErr
				}
				if err == nil && !repair && slices.ContainsFunc(found, func(f rootfs.Finding) bool { return !f.Leftover }) {
					err = errDamaged
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&repair, "repair", "r", false, "Repair damage and delete left-over files")
	l.register(cmd)
	return cmd
}

func tellFindings(w io.Writer, l listing, found []rootfs.Finding) error {
	if l.json || l.format != "" {
		return printRows(w, l, nil, found)
	}
	for _, f := range found {
		what := "with --repair: "
		if f.Repaired {
			what = "repaired: "
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n  %s%s\n", f.Object, f.Problem, what, f.Repair); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(found, func(f rootfs.Finding) bool { return !f.Leftover }) {
		return nil
	}
	text := "No damage found"
	if n := len(found); n > 0 && !found[0].Repaired {
		text += fmt.Sprintf("; %d left over, which does no harm and goes with --repair", n)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
