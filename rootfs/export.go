// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Export writes the file system of an image as a tar. The caller must have the
// rights that Mount needs.
func (s *Store) Export(ctx context.Context, img *Image, w io.Writer) error {
	return s.Look(ctx, img, func(root *os.Root) error { return ExportTree(ctx, w, root.Name(), s.Options().Mapping) })
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
