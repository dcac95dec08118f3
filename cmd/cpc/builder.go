// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
)

func (a buildCommands) builderGroup() *cobra.Command {
	return group("builder", "Manage the build cache", a.buildCommand(), a.builderPruneCommand())
}

// buildxGroup has the words of docker's buildx. There is one builder: cpc.
func (a buildCommands) buildxGroup() *cobra.Command {
	return group("buildx", "Build images with the commands of docker buildx", a.buildCommand(), a.builderPruneCommand(), a.buildxListCommand(), a.buildxVersionCommand())
}

func (a buildCommands) buildxListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the builders; cpc is the only one", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "NAME/NODE   DRIVER/ENDPOINT   STATUS    PLATFORMS\ncpc*        cpc               running   %s\n",
				rootfs.FormatPlatform(rootfs.HostPlatform()))
			return err
		},
	}
}

func (a buildCommands) buildxVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of the builder, which is that of cpc", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "cpc buildx %s\n", version())
			return err
		},
	}
}

func (a buildCommands) builderPruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove the build cache (the results of steps and the cache mounts)", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			unused, err := unusedFor(p.filters)
			if err != nil {
				return usageError{err}
			}
			return a.inStore(func(store *rootfs.Store) error {
				if err := p.confirm(cmd.Context(), "the build cache"); err != nil {
					return err
				}
				freed, err := freeing(cmd.Context(), store, func() (int64, error) {
					freed, err := pruneCache(store, unused)
					busy := working("Removing layers", false)
					defer busy.end()
					return freed, errors.Join(err, store.Collect(cmd.Context()))
				})
				if err != nil {
					return err
				}
				return tellFreed(cmd, freed)
			})
		},
	}
	p.register(cmd)
	return cmd
}

// unusedFor reads --filter until=TIME or unused-for=TIME.
func unusedFor(filters []string) (time.Duration, error) {
	var unused time.Duration
	for _, f := range filters {
		name, value, _ := strings.Cut(f, "=")
		if name != "until" && name != "unused-for" {
			return 0, fmt.Errorf("--filter %s: only until is known", f)
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("--filter %s: must be a time such as 24h", f)
		}
		unused = d
	}
	return unused, nil
}
