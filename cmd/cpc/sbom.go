// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sbom"
)

func (a contentCommands) sbomCommand() *cobra.Command {
	var format, pull, output string
	cmd := &cobra.Command{
		Use: "sbom [OPTIONS] IMAGE", Short: "Print the bill of materials (SBOM) of an image",
		Long: `Print the software that an image contains: packages of dpkg, apk, Python and npm,
and the modules of Go and Rust programs. cpc build records the bill of materials
of each image; for other images, the command creates the bill and stores it with
the image.`,
		Example: "  cpc sbom --format cyclonedx-json -o sbom.json claude-pocket-console/sandbox:latest",
		Args:    wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, ok := map[string]string{"spdx-json": sbom.SPDXType, "cyclonedx-json": sbom.CycloneDXType}[format]
			if !ok {
				return usageError{fmt.Errorf("--format %q: choose spdx-json or cyclonedx-json", format)}
			}
			return a.inStore(func(store *rootfs.Store) error {
				img, err := a.findOrPull(cmd.Context(), store, args[0], pull)
				if err != nil {
					return err
				}
				data, err := a.materials(cmd.Context(), store, img, kind)
				if err != nil {
					return err
				}
				if output != "" && output != "-" {
					return atomicfile.Named(output, atomicfile.Options{}, atomicfile.Content(data))
				}
				if terminal.Is(os.Stdout) {
					data = visible.JSON(data)
				}
				_, err = os.Stdout.Write(data)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "spdx-json", "`FORMAT`: spdx-json or cyclonedx-json")
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to `FILE`")
	cmd.Flags().StringVar(&pull, "pull", pullMissing, "`WHEN` to pull the image: always, missing or never")
	return cmd
}

// materials returns a bill of materials that was recorded, or records one.
func (a contentCommands) materials(ctx context.Context, store *rootfs.Store, img *rootfs.Image, kind string) ([]byte, error) {
	found, err := store.Artifacts(ctx, img.Digest, kind)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		made, err := a.inventory(ctx, store, img, false)
		if err != nil {
			return nil, err
		}
		err = recordMaterials(ctx, store, img, made)
		if errors.Is(err, unix.EROFS) { // it can be shown, and not be kept
			return made.Document(kind), nil
		}
		if err != nil {
			return nil, err
		}
		if found, err = store.Artifacts(ctx, img.Digest, kind); err != nil || len(found) == 0 {
			return nil, errors.Join(err, rootfs.ErrNotFound)
		}
	}
	return store.ReadArtifact(found[0])
}

// inventory looks what is in an image, and tells of what it could not read.
func (a contentCommands) inventory(ctx context.Context, store *rootfs.Store, img *rootfs.Image, quiet bool) (found *sbom.Response, err error) {
	program, err := sbom.Find()
	if err != nil {
		return nil, err
	}
	about := sbom.Subject{Name: img.Digest.String(), Digest: img.Digest.String(), Tool: "cpc-" + version()}
	if len(img.Names) > 0 {
		about.Name = img.Names[0]
	}
	if img.Config.Created != nil {
		about.Created = *img.Config.Created
	}
	looking := "Looking through " + rootfs.Familiar(about.Name)
	busy := working(looking, quiet)
	defer busy.end()
	a.inside.progress = busy.unpacking()
	err = store.Look(ctx, img, func(root *os.Root) error {
		busy.now(looking)
		found, err = program.Inventory(ctx, root.Name(), about)
		return err
	})
	busy.end()
	if err != nil {
		return nil, fmt.Errorf("bill of materials of %s: %w", about.Name, err)
	}
	for _, note := range found.Inventory.Notes {
		fmt.Fprintln(stderr(), "cpc: warning: bill of materials:", note)
	}
	return found, nil
}

// recordMaterials attaches the bill of materials in both formats.
func recordMaterials(ctx context.Context, store *rootfs.Store, img *rootfs.Image, found *sbom.Response) error {
	for _, kind := range sbom.DocumentTypes() {
		if _, err := store.Attach(ctx, img.Digest, kind, found.Document(kind), nil); err != nil {
			return err
		}
	}
	return nil
}
