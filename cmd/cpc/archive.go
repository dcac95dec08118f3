// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/rootfs"
)

func (a imageCommands) saveCommand() *cobra.Command {
	var output, format, platform string
	var referrers bool
	cmd := &cobra.Command{
		Use: "save [OPTIONS] IMAGE...", Short: "Save images to an archive",
		Long: `Save images to an archive that cpc load, docker load, podman and skopeo can read.
The format is docker's by default; --format selects an OCI image layout, as a tar
or as a directory. A name without a tag selects all tags of that repository.`,
		Example: "  cpc save -o sandbox.tar claude-pocket-console/sandbox:latest\n  cpc save debian:trixie-slim | ssh host cpc load",
		Args:    wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := rootfs.Format(format)
			switch f {
			case rootfs.DockerArchive, rootfs.OCIArchive, rootfs.OCIDir:
			default:
				return usageError{fmt.Errorf("--format %q: choose docker-archive, oci-archive or oci-dir", format)}
			}
			if f == rootfs.OCIDir && output == "" {
				return usageError{errors.New("--format oci-dir needs a directory: give it with --output")}
			}
			want, err := optionalPlatform(platform)
			if err != nil {
				return err
			}
			o := rootfs.SaveOptions{Format: f, Platform: want, Referrers: referrers}
			return a.withStore(func(store *rootfs.Store) error {
				busy := working("Saving "+strings.Join(args, ", "), false)
				defer busy.end()
				if f == rootfs.OCIDir {
					return store.SaveDir(cmd.Context(), output, args, o)
				}
				return writeOutput(output, privately, func(w io.Writer) error { return store.Save(cmd.Context(), busy.writing(w), args, o) })
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to `FILE` (default: standard output)")
	cmd.Flags().StringVar(&format, "format", string(rootfs.DockerArchive), "`FORMAT`: docker-archive, oci-archive or oci-dir")
	cmd.Flags().StringVar(&platform, "platform", "", "Save only the image for `OS/ARCH` where a name has several platforms")
	cmd.Flags().BoolVar(&referrers, "referrers", false, "Add bills of materials and other referrers to an OCI layout; only cpc and tools that know referrers can read the result")
	return cmd
}

// errTerminal reports an archive that would be shown to a person.
var errTerminal = errors.New("an archive is not written to a terminal: name a file with --output, or redirect")

// privately is the mode that docker gives new archives: there may be secrets in them.
const privately = 0o600

// writeOutput writes the file that somebody has named (atomicfile.Named), or
// standard output.
func writeOutput(name string, mode fs.FileMode, write func(io.Writer) error) error {
	if name == "" || name == "-" {
		if terminal.Is(os.Stdout) {
			return errTerminal
		}
		return write(os.Stdout)
	}
	return atomicfile.Named(name, atomicfile.Options{Mode: mode}, func(f *os.File) error { return write(f) })
}

func (a imageCommands) loadCommand() *cobra.Command {
	var input, platform string
	var quiet bool
	cmd := &cobra.Command{
		Use: "load [OPTIONS]", Short: "Load images from an archive",
		Long: `Load the images of an archive that cpc save, docker save, podman save or skopeo
wrote, or of an OCI image layout (a tar or a directory). The archive may be
compressed with gzip, zstd or bzip2. Layers are unpacked while the archive is
loaded, so that the first run starts without delay.`,
		Example: "  cpc load -i sandbox.tar\n  docker save debian | cpc load",
		Args:    wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (input == "" || input == "-") && terminal.Is(os.Stdin) {
				return usageErrorf(cmd, "name an archive with --input, or redirect one to standard input")
			}
			want, err := optionalPlatform(platform)
			if err != nil {
				return err
			}
			return a.inStore(func(store *rootfs.Store) error {
				images, err := a.loadImages(cmd.Context(), store, input, quiet, want)
				if err != nil {
					return err
				}
				return tellLoaded(cmd.OutOrStdout(), images, quiet)
			})
		},
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "Read from `FILE` or directory (default: standard input)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Print only the names of the images")
	cmd.Flags().StringVar(&platform, "platform", "", "Load only the image for `OS/ARCH`")
	return cmd
}

func (a imageCommands) loadImages(ctx context.Context, store *rootfs.Store, input string, quiet bool, platform *v1.Platform) ([]*rootfs.Image, error) {
	busy := working("Reading the archive", quiet)
	defer busy.end()
	a.inside.warn = busy.say
	o := rootfs.LoadOptions{Platform: platform, Unpack: true, Progress: busy.unpacking()}
	if input == "" {
		input = "-"
	}
	if st, err := os.Stat(input); err == nil && st.IsDir() {
		return store.LoadDir(ctx, input, o)
	}
	in, err := openInput(ctx, input)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return store.Load(ctx, busy.reading(in, "Taking in the images"), o)
}

func tellLoaded(w io.Writer, images []*rootfs.Image, quiet bool) error {
	for _, img := range images {
		lines := familiarNames(img.Names)
		what := "Loaded image: "
		if len(lines) == 0 {
			lines, what = []string{img.ConfigDigest.String()}, "Loaded image ID: "
		}
		if quiet {
			what = ""
		}
		for _, l := range lines {
			if _, err := fmt.Fprintln(w, what+l); err != nil {
				return err
			}
		}
	}
	return nil
}
