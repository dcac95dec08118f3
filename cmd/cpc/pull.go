// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// When to pull an image.
const (
	pullAlways  = "always"
	pullMissing = "missing"
	pullNever   = "never"
)

// findImage returns an image of the store, pulling it first as asked.
func (a *app) findImage(ctx context.Context, ref, when string) (img *rootfs.Image, err error) {
	err = a.withStore(func(store *rootfs.Store) (err error) {
		img, err = findOrPull(ctx, store, ref, when)
		return err
	})
	return img, err
}

func findOrPull(ctx context.Context, store *rootfs.Store, ref, when string) (*rootfs.Image, error) {
	if when == pullAlways {
		return pull(ctx, store, ref, tellStderr)
	}
	img, err := store.Image(ctx, ref)
	if err == nil || !errors.Is(err, rootfs.ErrNotFound) || when == pullNever {
		return img, err
	}
	fmt.Fprintf(os.Stderr, "Image %s is not here yet; pulling it\n", ref)
	img, pullErr := pull(ctx, store, ref, tellStderr)
	if pullErr != nil {
		return nil, fmt.Errorf("%w, and it cannot be pulled: %w", err, pullErr)
	}
	return img, nil
}

// pull pulls an image and tells of each blob, a line each.
func pull(ctx context.Context, store *rootfs.Store, ref string, tell func(line string)) (*rootfs.Image, error) {
	return store.Pull(ctx, ref, rootfs.PullOptions{Progress: func(e rootfs.Event) {
		switch e.Action {
		case "exists":
			tell(shortDigest(e.Digest.String()) + ": already here")
		case "done":
			tell(shortDigest(e.Digest.String()) + ": " + units.HumanSize(float64(e.Done)))
		}
	}})
}

func tellStderr(line string) { fmt.Fprintln(os.Stderr, line) }

func (a *app) pullCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] IMAGE", Short: "Get an image from a registry", Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			tell := tellStderr
			if quiet {
				tell = func(string) {}
			}
			return a.withStore(func(store *rootfs.Store) error {
				img, err := pull(cmd.Context(), store, args[0], tell)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), img.Digest)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Print the digest only")
	return cmd
}
