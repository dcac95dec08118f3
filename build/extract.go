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
	"os"
	"path"
	"strings"

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

// extract unpacks a context. Its files belong to the caller, whatever the
// archive says; devices and pipes are left out; nothing can get out of root.
func extract(ctx context.Context, r io.Reader, root *os.Root) error {
	tr := tar.NewReader(r)
	var total int64
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if total += h.Size; n > maxEntries || total > maxContext || h.Size < 0 {
			return errors.New("the archive is too large for a context")
		}
		if err := extractEntry(tr, h, root); err != nil {
			return fmt.Errorf("%s: %w", bounded(visible(h.Name), 200), err)
		}
	}
}

func extractEntry(tr *tar.Reader, h *tar.Header, root *os.Root) error {
	name := path.Clean("/" + h.Name)[1:]
	if name == "" {
		return nil
	}
	if strings.ContainsRune(name, 0) {
		return errors.New("malformed name")
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return root.Chmod(name, mode|0o700)
	case tar.TypeReg:
		return extractFile(tr, root, name, mode, h)
	case tar.TypeSymlink:
		if err := makeRoom(root, name); err != nil {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		if err := makeRoom(root, name); err != nil {
			return err
		}
		return root.Link(path.Clean("/" + h.Linkname)[1:], name)
	}
	return nil
}

func extractFile(tr *tar.Reader, root *os.Root, name string, mode os.FileMode, h *tar.Header) error {
	if err := makeRoom(root, name); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, tr)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := root.Chmod(name, mode|0o600); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// makeRoom removes what an entry replaces.
func makeRoom(root *os.Root, name string) error {
	err := root.Remove(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// plainStream is a stream without its compression.
func plainStream(r io.Reader) (*bufio.Reader, io.Closer, error) {
	plain, err := layer.Decompress(r, layer.Limits{})
	if err != nil {
		return nil, nil, err
	}
	return bufio.NewReaderSize(plain, 64<<10), plain, nil
}
