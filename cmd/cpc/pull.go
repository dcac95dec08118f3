// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	units "github.com/docker/go-units"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// When to pull an image.
const (
	pullAlways  = "always"
	pullMissing = "missing"
	pullNever   = "never"
)

// findImage returns an image of the store, for a platform if one is given,
// pulling it first as asked.
func (a *app) findImage(ctx context.Context, ref, when, platform string) (*rootfs.Image, error) {
	img, err := a.lookUpFor(ctx, ref, platform)
	missing := errors.Is(err, rootfs.ErrNotFound)
	if when == pullNever || when != pullAlways && !missing {
		return img, err
	}
	if missing && !a.quiet {
		fmt.Fprintf(stderr(), "Image %s is not in the store; pulling it\n", ref)
	}
	// In U0, where layers are unpacked while they come.
	if err := a.inU0([]string{"pull", "--for-run", "--quiet=" + strconv.FormatBool(a.quiet), "--platform=" + platform, "--", ref}); err != nil {
		if _, said := errors.AsType[exitStatus](err); said {
			return nil, exitStatus(usageFailure)
		}
		return nil, err
	}
	if img, err = a.lookUpFor(ctx, ref, platform); errors.Is(err, rootfs.ErrNotFound) {
		// What there is for another platform serves as well, as 386 on amd64.
		return a.lookUp(ctx, ref)
	}
	return img, err
}

// findOrPull is findImage with a store that is open already.
func (a *app) findOrPull(ctx context.Context, store *rootfs.Store, ref, when string) (*rootfs.Image, error) {
	if when != pullAlways {
		img, err := store.Image(ctx, ref)
		if err == nil || !errors.Is(err, rootfs.ErrNotFound) || when == pullNever {
			return img, err
		}
		fmt.Fprintf(stderr(), "Image %s is not in the store; pulling it\n", ref)
	}
	return a.pull(ctx, store, ref, tellStderr)
}

// lookUp returns an image of the store.
func (a *app) lookUp(ctx context.Context, ref string) (*rootfs.Image, error) {
	return a.lookUpFor(ctx, ref, "")
}

// lookUpFor is lookUp for a platform, if one is given.
func (a *app) lookUpFor(ctx context.Context, ref, platform string) (img *rootfs.Image, err error) {
	err = a.withStore(func(store *rootfs.Store) (err error) {
		img, err = imageFor(ctx, store, ref, platform)
		return err
	})
	return img, err
}

// pull pulls an image and tells of each blob, a line each.
func (a *app) pull(ctx context.Context, store *rootfs.Store, ref string, tell func(line string)) (*rootfs.Image, error) {
	return a.pullFor(ctx, store, ref, nil, tell)
}

// pullFor is pull for a platform; nil is this machine's.
func (a *app) pullFor(ctx context.Context, store *rootfs.Store, ref string, platform *v1.Platform, tell func(line string)) (*rootfs.Image, error) {
	client, err := a.registryClient(tell)
	if err != nil {
		return nil, err
	}
	return store.Pull(ctx, ref, rootfs.PullOptions{Client: client, Platform: platform, Unpack: a.inside != nil, Progress: func(e rootfs.Event) {
		if text, final := words(e.Action); final {
			tell(shortDigest(e.Digest.String()) + ": " + text + " (" + units.HumanSize(float64(e.Done)) + ")")
		}
	}})
}

// stderr and stdout are for cpc's own words, in which there are those of images,
// registries and sandboxes. What a program writes goes to os.Stdout as it is.
func stderr() io.Writer { return visible.Writer(os.Stderr) }

func stdout() io.Writer { return visible.Writer(os.Stdout) }

func tellStderr(line string) { fmt.Fprintln(stderr(), line) }

func (a imageCommands) pullCommand() *cobra.Command {
	var quiet, all, forRun, referrers bool
	var platform string
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] IMAGE", Short: "Pull an image from a registry", Args: wants(1, 1),
		Long: `Pull an image from the registry in its name, or from the mirror that config.toml
sets for that registry. An interrupted download is resumed. NAME@sha256:DIGEST
pulls exactly the image with that digest.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inStore(func(store *rootfs.Store) error {
				p := newProgress(os.Stderr, quiet)
				a.inside.warn = p.warn
				o, err := a.pullOptions(platform, p)
				if err != nil {
					return err
				}
				o.Referrers = referrers
				refs := args
				if all {
					if refs, err = allTags(cmd.Context(), o, args[0]); err != nil {
						return err
					}
				}
				for _, ref := range refs {
					img, err := store.Pull(cmd.Context(), ref, o)
					p.end()
					switch {
					case forRun && err != nil:
						return fmt.Errorf("image %s is not in the store, and cannot be pulled: %w", ref, err)
					case err != nil:
						return err
					case forRun:
						return nil
					}
					if _, err := fmt.Fprintln(cmd.OutOrStdout(), img.Digest); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Print only the digest")
	cmd.Flags().BoolVarP(&all, "all-tags", "a", false, "Pull all tags of the repository")
	cmd.Flags().BoolVar(&referrers, "referrers", false, "Also pull the referrers of the image: bills of materials, signatures")
	cmd.Flags().BoolVar(&forRun, "for-run", false, "")
	_ = cmd.Flags().MarkHidden("for-run") // it exists
	cmd.Flags().StringVar(&platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Pull the image for `OS/ARCH` (default: that of the host)")
	return cmd
}

func allTags(ctx context.Context, o rootfs.PullOptions, repository string) ([]string, error) {
	if r, tag := rootfs.SplitTag(repository); tag != "<none>" {
		return nil, usageError{fmt.Errorf("--all-tags takes a repository without a tag: %s", r)}
	}
	tags, err := rootfs.RemoteTags(ctx, o.Client, repository)
	for i, t := range tags {
		tags[i] = repository + ":" + t
	}
	return tags, err
}
