// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs/layer"

	"github.com/claude-pocket-console/cpc/build/files"
)

// xzMagic starts a file that xz made.
const xzMagic = "\xfd7zXZ\x00"

// isArchive reports whether ADD would unpack a file: a tar, compressed or not.
func isArchive(t *files.Tree, e *files.Entry) (found bool, err error) {
	f, err := t.OpenFile(e)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	plain, err := decompress(f)
	if errors.Is(err, exec.ErrNotFound) {
		return false, hint.With(fmt.Errorf("%s: the program xz is not installed", visible.Line(e.Path)), "install it: sudo apt-get install xz-utils")
	}
	if err != nil {
		return false, nil
	}
	_, headerErr := tar.NewReader(io.LimitReader(plain, 16<<20)).Next()
	_ = plain.Close() // xz is cut short
	return headerErr == nil, nil
}

// decompress is layer.Decompress for one more format: xz, by the program of
// that name, which is told how much memory it may take.
func decompress(f *os.File) (io.ReadCloser, error) {
	magic := make([]byte, len(xzMagic))
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != xzMagic {
		return layer.Decompress(f, layer.Limits{})
	}
	cmd := exec.Command("xz", "--decompress", "--stdout", "--threads=1", "--memlimit-decompress=512MiB", "--no-warn")
	cmd.Stdin = f
	x := &xzReader{cmd: cmd}
	cmd.Stderr = &x.complaint
	var err error
	if x.ReadCloser, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return x, nil
}

// xzReader is the output of xz. Its end comes only if xz succeeded.
type xzReader struct {
	io.ReadCloser
	cmd       *exec.Cmd
	complaint bytes.Buffer
	ended     bool
}

func (x *xzReader) Read(p []byte) (int, error) {
	n, err := x.ReadCloser.Read(p)
	if !errors.Is(err, io.EOF) || x.ended {
		return n, err
	}
	x.ended = true
	if wait := x.cmd.Wait(); wait != nil {
		return n, fmt.Errorf("decompress: %w: %s", wait, visible.Bounded(x.complaint.String(), 200))
	}
	return n, io.EOF
}

// Close ends xz if it still runs.
func (x *xzReader) Close() error {
	if x.ended {
		return nil
	}
	x.ended = true
	_ = x.cmd.Process.Kill() // it may have ended by itself
	_ = x.cmd.Wait()         // and did not succeed
	return nil
}
