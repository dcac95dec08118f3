// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// ExportOptions say how the files of an image are written down.
type ExportOptions struct {
	Store   *rootfs.Store
	Mapping idmap.Mapping
	// Epoch is the latest time that a file gets; zero: no limit.
	Epoch time.Time
	// Prefix is put before the names in a tar; "" or a directory.
	Prefix string
}

// ExportDir writes the files of an image into a directory, as the caller's own:
// what is there already is replaced file by file, and a symlink in the
// directory or in the image leads nothing out of it.
func ExportDir(ctx context.Context, img *rootfs.Image, dir string, o ExportOptions) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // docker's mode
		return fmt.Errorf("output: %w", err)
	}
	out, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	defer out.Close()
	return o.each(ctx, img, func(from *tree, e entry) error { return writeOut(from, e, out) })
}

// ExportTar writes the files of an image as a tar.
func ExportTar(ctx context.Context, img *rootfs.Image, w io.Writer, o ExportOptions) error {
	tw := tar.NewWriter(w)
	err := o.each(ctx, img, func(from *tree, e entry) error { return tarOut(from, e, tw, o.Prefix) })
	if err != nil {
		return err
	}
	return tw.Close()
}

// each calls visit for all files of an image, parents before children.
func (o ExportOptions) each(ctx context.Context, img *rootfs.Image, visit func(*tree, entry) error) error {
	if len(img.Manifest.Layers) == 0 {
		return nil
	}
	return o.Store.Look(ctx, img, func(root *os.Root) error {
		t := &tree{name: "the image", dir: root.Name(), root: root, ids: callerIDs(o.Mapping), warn: func(string) {}, lenient: true}
		entries, err := t.entries(".")
		if err != nil {
			return err
		}
		for _, e := range entries[1:] {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if !o.Epoch.IsZero() && e.mtime.After(o.Epoch) {
				e.mtime = o.Epoch
			}
			if err := visit(t, e); err != nil {
				return fmt.Errorf("output %s: %w", visible(e.rel), err)
			}
		}
		return nil
	})
}

func writeOut(from *tree, e entry, out *os.Root) error {
	switch {
	case e.mode.IsDir():
		if err := out.MkdirAll(e.rel, 0o755); err != nil {
			return err
		}
		return out.Chmod(e.rel, e.mode.Perm()|0o700)
	case e.link != "":
		if err := makeRoom(out, e.rel); err != nil {
			return err
		}
		return out.Symlink(e.link, e.rel)
	}
	if err := makeRoom(out, e.rel); err != nil {
		return err
	}
	in, err := from.root.Open(e.path)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := out.OpenFile(e.rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := out.Chmod(e.rel, e.mode.Perm()); err != nil {
		return err
	}
	return out.Chtimes(e.rel, e.mtime, e.mtime)
}

func tarOut(from *tree, e entry, tw *tar.Writer, prefix string) error {
	h := &tar.Header{
		Name: path.Join(prefix, e.rel), Mode: int64(unixMode(e.mode)), Uid: int(e.owner.uid), Gid: int(e.owner.gid),
		ModTime: e.mtime, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
	}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return tw.WriteHeader(h)
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		return tw.WriteHeader(h)
	}
	in, err := from.root.Open(e.path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(tw, in, h.Size)
	return err
}
