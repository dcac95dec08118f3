// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func (a imageCommands) exportCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] NAME", Short: "Export the file system of a running sandbox or of an image as a tar",
		Long: `Export the file system of a running sandbox or of an image as a tar. Mounts such as
/tmp, the home and /proc are left out; cpc cp SANDBOX:PATH - writes a directory on
one of those as a tar. The file system of a sandbox is removed when the sandbox exits, so an
exited sandbox cannot be exported.`,
		Example: "  cpc export -o files.tar box\n  cpc export debian:trixie-slim | tar t",
		Args:    wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.inside == nil {
				done, err := a.exportSandbox(cmd.Context(), args[0], output)
				if done || err != nil {
					return err
				}
				if _, err := a.lookUp(cmd.Context(), args[0]); errors.Is(err, rootfs.ErrNotFound) {
					return fmt.Errorf("%w: %s", errNoSuchThing, args[0])
				}
			}
			return a.inStore(func(store *rootfs.Store) error {
				img, err := store.Image(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return writeOutput(output, privately, func(w io.Writer) error {
					busy := working("Exporting "+args[0], false)
					defer busy.end()
					a.inside.progress = busy.unpacking()
					return store.Export(cmd.Context(), img, busy.writing(w))
				})
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to `FILE` (default: standard output)")
	return cmd
}

// exportSandbox exports a sandbox, if there is one of that name.
func (a imageCommands) exportSandbox(ctx context.Context, name, output string) (done bool, err error) {
	e, err := a.engine()
	if err != nil {
		return false, err
	}
	if _, err := e.Set.Find(name); errors.Is(err, record.ErrNotFound) {
		return false, nil
	}
	return true, writeOutput(output, privately, func(w io.Writer) error {
		busy := working("Exporting "+name, false)
		defer busy.end()
		return e.Export(ctx, name, busy.writing(w))
	})
}
