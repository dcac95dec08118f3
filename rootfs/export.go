// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Export writes the file system of an image as a tar. The caller must have the
// rights that Mount needs.
func (s *Store) Export(ctx context.Context, img *Image, w io.Writer) (err error) {
	release, err := s.Use(img)
	if err != nil {
		return err
	}
	defer release()
	layers, err := s.Layers(ctx, img)
	if err != nil {
		return err
	}
	id := "export-" + rand.Text()
	scratch, err := s.NewScratch(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.RemoveScratch(id)) }()
	target := filepath.Join(scratch, "merged")
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	m, err := Mount(MountOptions{Layers: layers, Scratch: scratch, Target: target, Mapping: s.o.Mapping})
	if err != nil {
		return err
	}
	return errors.Join(ExportTree(ctx, w, m.Root, s.o.Mapping), m.Close())
}

// ExportTree writes a mounted root file system as a tar, also while a sandbox
// uses it: no link in it leads out of it, and what changes meanwhile is left
// out or cut to its size.
func ExportTree(ctx context.Context, w io.Writer, root string, m idmap.Mapping) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	if err := layer.Pack(ctx, buf, root, layer.PackOptions{Mapping: m, Live: true}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return buf.Flush()
}
