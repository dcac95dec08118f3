// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// pruning are the flags of the commands that remove what is not used.
type pruning struct {
	force, all bool
	filters    []string
}

func (p *pruning) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&p.force, "force", "f", false, "Do not ask for confirmation")
	cmd.Flags().StringArrayVar(&p.filters, "filter", nil, "Remove only objects that match `KEY=VALUE`: until=24h, label=NAME")
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

func (a imageCommands) imagePruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove dangling images, or all unused images", Args: wants(0, 0),
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
	cmd.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all unused images, not only those without a name")
	return cmd
}

func (p *pruning) images(cmd *cobra.Command, store *rootfs.Store) (freed int64, err error) {
	want, err := parseImageFilters(cmd.Context(), store, p.filters)
	if err != nil {
		return 0, err
	}
	busy := working("Removing images", false)
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

func (a sandboxCommands) containerPruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all exited sandboxes", Args: wants(0, 0),
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
func (a sandboxCommands) pruneSandboxes(cmd *cobra.Command, p *pruning) error {
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

func (a systemCommands) systemPruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused data: exited sandboxes, images and the build cache", Args: wants(0, 0),
		Long: `Remove what nothing uses: sandboxes that have ended, images without a name (with --all every
image that no sandbox uses), and the build cache. To remove everything that cpc keeps
for you, for example before uninstalling it, use cpc system reset.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.inside == nil {
				warning := "all sandboxes that have ended, images without a name and the build cache"
				if p.all {
					warning = "all sandboxes that have ended, images that no sandbox uses and the build cache"
				}
				if err := p.confirm(cmd.Context(), warning); err != nil {
					return err
				}
				if err := sandboxCommands(a).pruneSandboxes(cmd, &p); err != nil {
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
	cmd.Flags().BoolVarP(&p.all, "all", "a", false, "Remove all unused images, not only those without a name")
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
	busy := working("Removing the build cache", false)
	defer busy.end()
	freed, err = store.PruneCacheMounts(unused)
	return freed, errors.Join(err, store.PruneCache(unused))
}

// freeing returns how much disk something has freed: what that says and what
// the store is smaller by.
func freeing(ctx context.Context, store *rootfs.Store, do func() (int64, error)) (freed int64, err error) {
	measure := func() int64 {
		busy := working("Measuring the store", false)
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
