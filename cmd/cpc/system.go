// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func (a *app) systemGroup() *cobra.Command {
	return group("system", "Look after what cpc keeps on disk", a.dfCommand(), a.systemPruneCommand(), a.checkCommand(), a.eventsCommand(), a.infoCommand())
}

// dfRow is a kind of thing as cpc system df shows it. The field names are docker's.
type dfRow struct {
	Type        string
	TotalCount  string
	Active      string
	Size        string
	Reclaimable string
}

func (a *app) dfCommand() *cobra.Command {
	var l listing
	var verbose bool
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show how much disk images, sandboxes and the build cache take", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				if verbose {
					return a.dfVerbose(cmd, store, l)
				}
				busy := begin("Measuring the store", false)
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
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show each image")
	l.register(cmd)
	return cmd
}

func (a *app) dfRows(ctx context.Context, store *rootfs.Store) ([]dfRow, error) {
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

func (a *app) dfVerbose(cmd *cobra.Command, store *rootfs.Store, l listing) error {
	busy := begin("Measuring the images", false)
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
var errDamaged = errors.New("the image store is damaged")

func (a *app) checkCommand() *cobra.Command {
	var repair bool
	var l listing
	cmd := &cobra.Command{
		Use: "check [OPTIONS]", Short: "Look for damage in the image store, and repair it", Args: wants(0, 0),
		Long: `Verify every blob of the image store and look for what is missing, half made or
of no use. With --repair, damaged images are taken out of the list, so that they
can be pulled, loaded or built again, and what is of no use is removed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				busy := begin("Checking the store", false)
				found, err := store.Check(cmd.Context(), repair)
				busy.end()
				if printErr := tellFindings(cmd.OutOrStdout(), l, found); err == nil {
					err = printErr
				}
				if err == nil && len(found) > 0 && !repair {
					err = errDamaged
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&repair, "repair", "r", false, "Repair what is wrong")
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
	if len(found) == 0 {
		_, err := fmt.Fprintln(w, "No damage found")
		return err
	}
	return nil
}

// pruning are the flags of the commands that remove what is not used.
type pruning struct {
	force, all bool
	filters    []string
}

func (p *pruning) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&p.force, "force", "f", false, "Do not ask")
	cmd.Flags().StringArrayVar(&p.filters, "filter", nil, "Remove only those with `KEY=VALUE`: until=24h, label=NAME")
}

// errDeclined ends a command that was not confirmed.
var errDeclined = exitStatus(defaultFailure)

// confirm asks, unless --force says not to.
func (p *pruning) confirm(ctx context.Context, warning string) error {
	if p.force {
		return nil
	}
	fmt.Fprintf(stderr(), "WARNING! This will remove %s.\nAre you sure you want to continue? [y/N] ", warning)
	line, err := bufio.NewReader(stdin(ctx)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(stderr())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errDeclined
	}
	return nil
}

func (a *app) imagePruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove images without a name, or all that nothing uses", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				warning := "all images without a name"
				if p.all {
					warning = "all images that no sandbox uses"
				}
				if err := p.confirm(cmd.Context(), warning); err != nil {
					return err
				}
				freed, err := p.images(cmd, store)
				return errors.Join(err, tellFreed(cmd, freed))
			})
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all images that nothing uses, not only those without a name")
	return cmd
}

func (p *pruning) images(cmd *cobra.Command, store *rootfs.Store) (freed int64, err error) {
	want, err := parseImageFilters(cmd.Context(), store, p.filters)
	if err != nil {
		return 0, err
	}
	busy := begin("Removing images", false)
	defer busy.end()
	removed, freed, err := store.Prune(cmd.Context(), p.all, func(img *rootfs.Image) bool { return !want(img, "") })
	busy.end()
	return freed, errors.Join(err, tellRemoved(cmd, "Deleted Images:", removed))
}

func tellRemoved(cmd *cobra.Command, head string, removed []string) error {
	if len(removed) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n\n", head, strings.Join(removed, "\n"))
	return err
}

func tellFreed(cmd *cobra.Command, freed int64) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "Total reclaimed space: %s\n", units.HumanSize(float64(freed)))
	return err
}

func (a *app) containerPruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove what is known of sandboxes that have ended", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.confirm(cmd.Context(), "all sandboxes that have ended"); err != nil {
				return err
			}
			return errors.Join(a.pruneSandboxes(cmd, &p), tellFreed(cmd, 0))
		},
	}
	p.register(cmd)
	return cmd
}

// pruneSandboxes removes the records of sandboxes that have ended.
func (a *app) pruneSandboxes(cmd *cobra.Command, p *pruning) error {
	keep, err := sandboxFilter(p.filters)
	if err != nil {
		return usageError{err}
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	all, err := e.Set.List()
	if err != nil {
		return err
	}
	var removed []string
	var failed error
	for _, entry := range all {
		r := entry.Record
		if r.Status != record.Exited && r.Status != record.Dead || !keep(r) {
			continue
		}
		if err := e.Remove(cmd.Context(), r.ID, false); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		removed = append(removed, r.ID)
	}
	return errors.Join(failed, tellRemoved(cmd, "Deleted Containers:", removed))
}

func sandboxFilter(filters []string) (func(*record.Record) bool, error) {
	var plain []string
	limit := time.Now()
	for _, f := range filters {
		value, ok := strings.CutPrefix(f, "until=")
		if !ok {
			plain = append(plain, f)
			continue
		}
		var err error
		if limit, err = parseUntil(value, time.Now()); err != nil {
			return nil, err
		}
	}
	keep, err := parseFilters(plain, filterSources{})
	if err != nil {
		return nil, err
	}
	return func(r *record.Record) bool { return keep(r) && r.Created.Before(limit) }, nil
}

func (a *app) systemPruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove what nothing uses: sandboxes that have ended, images, the build cache", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.inside == nil {
				warning := "all sandboxes that have ended, images without a name and the build cache"
				if p.all {
					warning = "all sandboxes that have ended, images that no sandbox uses and the build cache"
				}
				if err := p.confirm(cmd.Context(), warning); err != nil {
					return err
				}
				if err := a.pruneSandboxes(cmd, &p); err != nil {
					return err
				}
				args := []string{"system", "prune", "--force", "--all=" + strconv.FormatBool(p.all)}
				for _, f := range p.filters {
					args = append(args, "--filter", f)
				}
				return a.inU0(args)
			}
			return a.inStore(func(store *rootfs.Store) error { return p.everything(cmd, store) })
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all images that nothing uses, not only those without a name")
	cmd.Flags().Bool("volumes", false, "Accepted for docker's sake: there are no volumes")
	return cmd
}

// everything removes the build cache and images.
func (p *pruning) everything(cmd *cobra.Command, store *rootfs.Store) error {
	freed, err := freeing(cmd.Context(), store, func() (freed int64, err error) {
		if len(p.filters) == 0 {
			freed, err = pruneCache(store, 0)
		}
		if err == nil {
			_, err = p.images(cmd, store)
		}
		return freed, err
	})
	if err != nil {
		return err
	}
	return tellFreed(cmd, freed)
}

// pruneCache removes what builds have kept and not used for a time. It returns
// how much of it was no blob or layer.
func pruneCache(store *rootfs.Store, unused time.Duration) (freed int64, err error) {
	busy := begin("Removing the build cache", false)
	defer busy.end()
	freed, err = store.PruneCacheMounts(unused)
	return freed, errors.Join(err, store.PruneCache(unused))
}

// freeing returns how much disk something has freed: what that says and what
// the store is smaller by.
func freeing(ctx context.Context, store *rootfs.Store, do func() (int64, error)) (freed int64, err error) {
	measure := func() int64 {
		busy := begin("Measuring the store", false)
		defer busy.end()
		u, failed := store.Usage(ctx)
		err = errors.Join(err, failed)
		return u.Blobs + u.Layers
	}
	before := measure()
	if err != nil {
		return 0, err
	}
	freed, err = do()
	return freed + before - measure(), err
}
