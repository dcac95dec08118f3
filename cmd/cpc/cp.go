// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/files"
)

type cpFlags struct {
	archive, follow, quiet bool
	user                   string
}

func (a sandboxCommands) cpCommand() *cobra.Command {
	f := &cpFlags{}
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] SANDBOX:PATH PATH|-\n  cpc cp [OPTIONS] PATH|- SANDBOX:PATH",
		Short: "Copy files into and out of a running sandbox",
		Long: `Copy a file or a directory into a running sandbox, or out of one. The image needs
no program for it. A path in the sandbox is relative to its root directory. The rules
are docker's:

- If the destination does not exist, it becomes a copy of the source. If it is a
  directory, the source is copied into it.
- If the source ends with /. the contents of the directory are copied.
- A destination that ends with / must be a directory.
- Parent directories of the destination are not created.
- A symbolic link is copied as a link. --follow-link copies the file that it points to.
- With - as a path, a tar is read from standard input or written to standard output.

Files copied into a sandbox belong to its root user. Files copied out of it belong to
you. --archive and --user change that. An existing directory keeps its owner and mode.
Set-user-id bits, set-group-id bits and file capabilities are not copied out of a sandbox.`,
		Example: "  cpc cp report.csv box:/tmp/\n  cpc cp box:/home/sandbox/out .\n  cpc cp box:/srv/. - | tar t\n  cpc cp --user sandbox src box:/home/sandbox/",
		Args:    wants(2, 2),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.cp(cmd.Context(), f, args[0], args[1]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.archive, "archive", "a", false, "Keep the user and group ids of files")
	fs.BoolVarP(&f.follow, "follow-link", "L", false, "Copy the file that a symbolic link in the source path points to")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Do not show progress")
	fs.StringVarP(&f.user, "user", "u", "", "`USER[:GROUP]` that owns the files copied into a sandbox (default: root)")
	return cmd
}

// sandboxPath takes SANDBOX:PATH apart, as docker does: what begins with / or . is a
// path of the caller's.
func sandboxPath(arg string) (name, path string, ok bool) {
	if filepath.IsAbs(arg) || strings.HasPrefix(arg, ".") {
		return "", arg, false
	}
	name, path, ok = strings.Cut(arg, ":")
	if !ok {
		return "", arg, false
	}
	return name, path, true
}

func (a sandboxCommands) cp(ctx context.Context, f *cpFlags, from, to string) error {
	source, sourcePath, out := sandboxPath(from)
	target, targetPath, in := sandboxPath(to)
	switch {
	case out && in:
		return usageError{errors.New("cannot copy from one sandbox to another: use a pipe: cpc cp SANDBOX:PATH - | cpc cp - SANDBOX:PATH")}
	case !out && !in:
		return usageError{errors.New("name a sandbox in one of the two paths: SANDBOX:PATH")}
	case out && sourcePath == "" || in && targetPath == "":
		return usageError{errors.New("the path in the sandbox is empty")}
	case out && f.user != "":
		return usageError{errors.New("--user is for files that are copied into a sandbox")}
	case f.user != "" && f.archive:
		return usageError{errors.New("--user and --archive contradict each other")}
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	busy := working("Copying from "+from, f.quiet)
	defer busy.end()
	if out {
		return copyOut(ctx, e, source, files.Order{Path: sourcePath, Follow: f.follow}, outTo{to, f.archive, busy.writing})
	}
	o := files.Order{Path: targetPath, User: f.user}
	if !f.archive && f.user == "" {
		o.Owner = &layer.Owner{}
	}
	if from != "-" {
		return e.CopyIn(ctx, target, files.Local{Path: from, Follow: f.follow}, o, busy.writing)
	}
	if terminal.Is(os.Stdin) {
		return usageError{errors.New("redirect a tar to standard input")}
	}
	o.Source = files.Source{Kind: files.Archive}
	tar, err := layer.Decompress(os.Stdin, layer.Limits{})
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	defer tar.Close()
	return e.PutFiles(ctx, target, o, tar)
}

// outTo is where files go that come out of a sandbox.
type outTo struct {
	path    string
	archive bool
	seen    func(io.Writer) io.Writer
}

func copyOut(ctx context.Context, e *sandbox.Engine, name string, o files.Order, to outTo) error {
	if to.path != "-" {
		return e.CopyOut(ctx, name, o, files.Local{Path: to.path, KeepOwner: to.archive}, to.seen)
	}
	if terminal.Is(os.Stdout) {
		return usageError{errors.New("an archive is not written to a terminal: redirect standard output")}
	}
	o.Named = !files.IsContents(o.Path)
	return files.Tar(os.Stdout, func(w io.Writer) error { return e.GetFiles(ctx, name, o, to.seen(w)) })
}
