// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// withStore opens the image store in the host's namespaces: to read it, and to
// add to it what need not be unpacked.
func (a *app) withStore(do func(*rootfs.Store) error) error {
	d, err := dirs.Find()
	if err != nil {
		return err
	}
	store, err := rootfs.Open(rootfs.Options{Dir: d.Data, Mapping: userns.Discover().Mapping(idmap.Size)})
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// inStore is withStore where files of other ids are made or removed: it runs
// the command again in U0, if it does not run there already.
func (a *app) inStore(do func(*rootfs.Store) error) error {
	if a.inside == nil {
		return a.inU0(os.Args[1:])
	}
	store, err := a.inside.store()
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// imageRow is an image name as cpc images shows it. The field names are docker's.
type imageRow struct {
	Repository   string
	Tag          string
	Digest       string
	ID           string
	CreatedSince string
	CreatedAt    string
	Size         string
	Bytes        int64
	Platform     string
	Labels       map[string]string `json:",omitempty"`
	noImageRowFields
}

func (a imageCommands) imagesCommand() *cobra.Command {
	var l listing
	var filters []string
	var digests bool
	cmd := &cobra.Command{
		Use: "images [OPTIONS] [NAME]", Short: "List images", Args: wants(0, 1),
		Long: `List images. NAME may contain the wildcards * and ?.

Filters: dangling=true|false, reference=PATTERN, label=KEY[=VALUE], id=ID,
before=IMAGE, since=IMAGE, until=TIME. KEY!=VALUE selects the images that do not match.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(store *rootfs.Store) error {
				for _, name := range args {
					filters = append(filters, "reference="+name)
				}
				want, err := parseImageFilters(cmd.Context(), store, filters)
				if err != nil {
					return err
				}
				return listImages(cmd, store, l, digests, want)
			})
		},
	}
	cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "Show only images that match `KEY=VALUE`")
	cmd.Flags().BoolVar(&digests, "digests", false, "Show digests")
	cmd.Flags().BoolP("all", "a", false, "Show all images (there are no hidden ones)")
	l.registerQuiet(cmd, "ids")
	l.register(cmd)
	return cmd
}

func listImages(cmd *cobra.Command, store *rootfs.Store, l listing, digests bool, want imageTest) error {
	all, damaged := store.Images(cmd.Context())
	var rows []imageRow
	for _, img := range all {
		rows = append(rows, imageRows(img, want, l.noTrunc)...)
	}
	if l.quiet && l.format == "" {
		l.format = "{{.ID}}"
		seen := make(map[string]bool)
		rows = slices.DeleteFunc(rows, func(r imageRow) bool {
			defer func() { seen[r.ID] = true }()
			return seen[r.ID]
		})
	}
	columns := []column{
		{"REPOSITORY", "{{.Repository}}"},
		{"TAG", "{{.Tag}}"},
		{"IMAGE ID", "{{.ID}}"},
		{"CREATED", "{{.CreatedSince}}"},
		{"SIZE", "{{.Size}}"},
	}
	if digests {
		columns = slices.Insert(columns, 2, column{"DIGEST", "{{.Digest}}"})
	}
	return errors.Join(printRows(cmd.OutOrStdout(), l, columns, rows), damaged)
}

// imageRows returns a row for each name of img that is wanted.
func imageRows(img *rootfs.Image, want imageTest, noTrunc bool) []imageRow {
	names := img.Names
	if len(names) == 0 {
		names = []string{"<none>:<none>"}
	}
	var rows []imageRow
	for _, name := range names {
		if !want(img, name) {
			continue
		}
		repository, tag := rootfs.SplitTag(rootfs.Familiar(name))
		r := imageRow{
			Repository: repository, Tag: tag, Digest: cmp.Or(img.Index, img.Digest).String(), ID: img.ConfigDigest.String(),
			Size: units.HumanSize(float64(img.Size)), Bytes: img.Size, Platform: rootfs.FormatPlatform(img.Platform()),
			Labels: img.Config.Config.Labels,
		}
		if c := img.Config.Created; c != nil {
			r.CreatedSince, r.CreatedAt = ago(*c), c.Format(time.RFC3339)
		}
		if !noTrunc {
			r.ID = shortDigest(r.ID)
		}
		rows = append(rows, r)
	}
	return rows
}

func familiarNames(names []string) []string {
	familiar := make([]string, len(names))
	for i, name := range names {
		familiar[i] = rootfs.Familiar(name)
	}
	return familiar
}

func shortDigest(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	if len(hex) > 12 {
		return hex[:12]
	}
	return hex
}

func (a imageCommands) rmiCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rmi [OPTIONS] IMAGE...", Short: "Remove images", Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inStore(func(store *rootfs.Store) error { return removeImages(cmd, store, args, force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Remove every name of an image id, untag images in use, and ignore images that do not exist")
	cmd.Flags().Bool("no-prune", false, "Accepted for compatibility with docker: unused layers are always removed")
	return cmd
}

func removeImages(cmd *cobra.Command, store *rootfs.Store, names []string, force bool) error {
	var failed error
	for _, name := range names {
		busy := working("Removing "+name, false)
		remove := store.Remove
		if force {
			remove = store.RemoveForced
		}
		removed, err := remove(cmd.Context(), name)
		busy.end()
		if force && errors.Is(err, rootfs.ErrNotFound) {
			err = nil
		}
		failed = errors.Join(failed, err)
		for _, r := range removed {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), r); err != nil {
				return err
			}
		}
	}
	return failed
}

func (a imageCommands) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tag IMAGE NAME", Short: "Create a tag NAME that refers to IMAGE", Args: wants(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(store *rootfs.Store) error { return store.Tag(cmd.Context(), args[0], args[1]) })
		},
	}
}

func openInput(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return stdin(ctx), nil
	}
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return nil, fmt.Errorf("%s: a URL is not fetched: pipe it in, with curl -fL URL | cpc", name)
	}
	return os.Open(filepath.Clean(name))
}
