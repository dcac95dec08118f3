// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// historyRow is a step of an image as cpc history shows it. The field names
// are docker's.
type historyRow struct {
	ID           string
	CreatedAt    string
	CreatedSince string
	CreatedBy    string
	Size         string
	Comment      string
}

func (a imageCommands) historyCommand() *cobra.Command {
	var l listing
	var human bool
	var platform string
	cmd := &cobra.Command{
		Use: "history [OPTIONS] IMAGE", Short: "Show the history of an image", Args: wants(1, 1),
		Long: "Show the steps that an image was built with, newest first. SIZE is the compressed size of the layer of the step.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(func(store *rootfs.Store) error {
				img, err := imageFor(cmd.Context(), store, args[0], platform)
				if err != nil {
					return err
				}
				if l.quiet && l.format == "" {
					l.format = "{{.ID}}"
				}
				return printRows(cmd.OutOrStdout(), l, []column{
					{"IMAGE", "{{.ID}}"},
					{"CREATED", "{{.CreatedSince}}"},
					{"CREATED BY", "{{.CreatedBy}}"},
					{"SIZE", "{{.Size}}"},
					{"COMMENT", "{{.Comment}}"},
				}, historyRows(img, l.noTrunc, human))
			})
		},
	}
	cmd.Flags().BoolVarP(&human, "human", "H", true, "Print sizes and times in a readable form")
	cmd.Flags().StringVar(&platform, "platform", "", "Show the image for `OS/ARCH` of a multi-platform image")
	l.registerQuiet(cmd, "ids")
	l.register(cmd)
	return cmd
}

// imageFor is an image of the store, for a platform if one is given.
func imageFor(ctx context.Context, store *rootfs.Store, ref, platform string) (*rootfs.Image, error) {
	want, err := optionalPlatform(platform)
	switch {
	case err != nil:
		return nil, err
	case want == nil:
		return store.Image(ctx, ref)
	}
	return store.ImageFor(ctx, ref, *want)
}

// historyRows returns the steps, newest first. What a step was is the image's
// to say, so it is shown on one line.
func historyRows(img *rootfs.Image, noTrunc, human bool) []historyRow {
	rows := make([]historyRow, 0, len(img.Config.History))
	layer := 0
	for _, h := range img.Config.History {
		var size int64
		if !h.EmptyLayer && layer < len(img.Manifest.Layers) {
			size = img.Manifest.Layers[layer].Size
			layer++
		}
		r := historyRow{
			ID: "<missing>", CreatedBy: visible.Line(h.CreatedBy), Comment: visible.Line(h.Comment),
			Size: units.HumanSize(float64(size)),
		}
		if h.Created != nil {
			r.CreatedAt, r.CreatedSince = h.Created.Format(time.RFC3339), ago(*h.Created)
		}
		if !human {
			r.Size, r.CreatedSince = strconv.FormatInt(size, 10), r.CreatedAt
		}
		if by := []rune(r.CreatedBy); !noTrunc && len(by) > 45 {
			r.CreatedBy = string(by[:44]) + "…"
		}
		rows = append(rows, r)
	}
	slices.Reverse(rows)
	if len(rows) > 0 {
		rows[0].ID = img.ConfigDigest.String()
		if !noTrunc {
			rows[0].ID = shortDigest(rows[0].ID)
		}
	}
	return rows
}
