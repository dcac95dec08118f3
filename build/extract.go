// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// maxContext bounds a context that comes as an archive.
const maxContext = 32 << 30

// isTar reports whether a stream starts as a tar does.
func isTar(r *bufio.Reader) bool {
	const block = 512
	head, err := r.Peek(block)
	if err != nil {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	_, err = tar.NewReader(strings.NewReader(string(head) + strings.Repeat("\x00", 2*block))).Next()
	return err == nil
}

// extract unpacks a context into the directory dir. Its files belong to the
// caller, whatever the archive says; devices are left out.
func extract(ctx context.Context, r io.Reader, dir string) error {
	return layer.Unpack(ctx, r, dir, layer.UnpackOptions{
		Mapping: idmap.ForSingle(), Plain: true, Limits: layer.Limits{Bytes: maxContext, Entries: files.MaxEntries},
	})
}

// plainStream is a stream without its compression.
func plainStream(r io.Reader) (*bufio.Reader, io.Closer, error) {
	plain, err := layer.Decompress(r, layer.Limits{})
	if err != nil {
		return nil, nil, err
	}
	return bufio.NewReaderSize(plain, 64<<10), plain, nil
}
