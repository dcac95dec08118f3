// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/inode"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// ExportOptions say how the files of an image are written down.
type ExportOptions struct {
	Store   *rootfs.Store
	Mapping idmap.Mapping
	// Epoch is the latest time that a file gets; zero: no limit.
	Epoch time.Time
	// Warn, if set, is told what could not be kept, and what to look after.
	Warn func(string)
}

func (o ExportOptions) warn(msg string) {
	if o.Warn != nil {
		o.Warn(msg)
	}
}

// ExportDir writes the files of an image into a directory, as the caller's own:
// what is there already is replaced file by file, and a symlink in the directory
// or in the image leads nothing out of it. A new directory that holds programs
// with set-id bits or capabilities is open to the caller only: they are the
// caller's now, and whoever runs them gets the caller's rights.
func ExportDir(ctx context.Context, img *rootfs.Image, dir string, o ExportOptions) (err error) {
	_, err = os.Lstat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	w, err := files.OpenWriter(dir, o.Mapping)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.Own, w.Latest, w.Warn = true, o.Epoch, o.warn
	powers := false
	if err := o.copyAll(ctx, img, w, &powers); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	switch {
	case powers && made:
		o.warn(fmt.Sprintf("output %s: it holds programs with set-id bits or capabilities, so that only you can open it", visible.Line(dir)))
	case powers:
		o.warn(fmt.Sprintf("output %s: it holds programs with set-id bits or capabilities, which are yours now; close it to other users", visible.Line(dir)))
	case made:
		return os.Chmod(dir, 0o755) //nolint:gosec // docker's mode
	}
	return nil
}

// copyAll copies the files of an image, and says whether any has rights of its own.
func (o ExportOptions) copyAll(ctx context.Context, img *rootfs.Image, w *files.Writer, powers *bool) error {
	return o.view(ctx, img, func(root string) (err error) {
		t, err := files.Open(root, "the image")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.Close()) }()
		t.Lenient, t.Warn, t.ID = true, o.warn, o.Mapping.FromCaller
		entries, err := t.Entries(".")
		if err != nil {
			return err
		}
		err = w.Contents(ctx, t, entries, ".")
		for i := range entries {
			e := &entries[i]
			_, capable := e.Attrs[inode.Capability]
			*powers = *powers || capable || e.IsRegular() && e.Mode&(unix.S_ISUID|unix.S_ISGID) != 0
		}
		return err
	})
}

// ExportTar writes the files of an image as a tar.
func ExportTar(ctx context.Context, img *rootfs.Image, w io.Writer, o ExportOptions) error {
	if len(img.Manifest.Layers) == 0 {
		return tar.NewWriter(w).Close()
	}
	return o.view(ctx, img, func(root string) error {
		buf := bufio.NewWriterSize(w, 256<<10)
		err := layer.Pack(ctx, buf, root, layer.PackOptions{Mapping: o.Mapping, Live: true, Latest: o.Epoch, Warn: o.Warn})
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		return buf.Flush()
	})
}

// view shows the files of an image; one without layers has none.
func (o ExportOptions) view(ctx context.Context, img *rootfs.Image, show func(root string) error) error {
	if len(img.Manifest.Layers) == 0 {
		return nil
	}
	return o.Store.Look(ctx, img, func(root *os.Root) error { return show(root.Name()) })
}
