// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/rootfs"
)

type importFlags struct {
	message, platform string
	changes           []string
}

func (a imageCommands) importCommand() *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use: "import [OPTIONS] FILE|- [NAME]", Short: "Create an image from a tar of a root file system",
		Long: `Create an image with one layer from a tar of a root file system. The tar may be
compressed with gzip, zstd or bzip2. "-" reads it from standard input.`,
		Example: "  mmdebstrap --variant=minbase trixie - | cpc import - debian:trixie-slim\n" +
			"  cpc import --change 'CMD [\"/init\"]' --change 'ENV A=1' root.tar mine:latest",
		Args: wants(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inStore(func(store *rootfs.Store) error { return a.importImage(cmd, store, args, f) })
		},
	}
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "`COMMENT` for the image's history")
	cmd.Flags().StringArrayVarP(&f.changes, "change", "c", nil, "Apply a Dockerfile `INSTRUCTION` to the image, such as CMD or ENV")
	cmd.Flags().StringVar(&f.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "`OS/ARCH` that the files are for (default: that of the host)")
	return cmd
}

func (a imageCommands) importImage(cmd *cobra.Command, store *rootfs.Store, args []string, f *importFlags) error {
	o := rootfs.ImportOptions{Comment: f.message, Change: func(c rootfs.Config) (rootfs.Config, error) { return dockerfile.Change(c, f.changes) }}
	var err error
	if o.Platform, err = optionalPlatform(f.platform); err != nil {
		return err
	}
	in, err := openInput(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	busy := working("Importing", false)
	defer busy.end()
	a.inside.warn = busy.say
	img, err := store.Import(cmd.Context(), busy.reading(in, "Writing the layer to disk"), name, o)
	busy.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), img.ConfigDigest)
	return err
}
