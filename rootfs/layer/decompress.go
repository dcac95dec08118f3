// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// zstdWindow is the largest window that a zstd stream may ask memory for.
const zstdWindow = 128 << 20

// ErrXz is the error for a stream that xz compressed.
var ErrXz = errors.New("xz compression is not supported")

// Readable returns an error for what cannot be a layer, going by its beginning.
func Readable(r io.Reader) error {
	in, err := Decompress(r, Limits{})
	if err != nil {
		return err
	}
	_, err = tar.NewReader(in).Next()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("neither a tar nor a compressed one: %w", err)
	}
	return errors.Join(err, in.Close())
}

// MediaType is that of a layer with this beginning, by its compression.
func MediaType(r io.Reader) (string, error) {
	magic := make([]byte, 6)
	n, err := io.ReadFull(r, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	switch magic = magic[:n]; {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return v1.MediaTypeImageLayerGzip, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippableFrame(magic):
		return v1.MediaTypeImageLayerZstd, nil
	}
	return v1.MediaTypeImageLayer, nil
}

// Decompress returns the stream in r without its compression, which it tells
// by the first bytes: gzip, zstd, bzip2, or none. The stream that it returns
// fails when it grows out of proportion (Limits.Ratio). Closing it does not
// close r.
func Decompress(r io.Reader, l Limits) (io.ReadCloser, error) {
	in := &countingReader{r: r}
	buf := bufio.NewReaderSize(in, 128<<10)
	magic, err := buf.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	out := &ratioReader{in: in, max: l.withDefaults().Ratio, close: func() {}}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		out.r, err = gzip.NewReader(buf)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippableFrame(magic):
		var dec *zstd.Decoder
		dec, err = zstd.NewReader(buf, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
		if err == nil {
			out.r, out.close = dec, dec.Close
		}
	case bytes.HasPrefix(magic, []byte("BZh")):
		out.r = bzip2.NewReader(buf)
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		err = ErrXz
	default:
		return io.NopCloser(buf), nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return out, nil
}

// skippableFrame tells a zstd stream that starts with a frame to be skipped,
// as those that can be read in parts do.
func skippableFrame(magic []byte) bool {
	return len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18})
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type ratioReader struct {
	r     io.Reader
	in    *countingReader
	out   int64
	max   int64
	close func()
}

func (z *ratioReader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	z.out += int64(n)
	if z.out > ratioFrom && z.out/z.max > z.in.n {
		return 0, fmt.Errorf("decompress: more than %d times the compressed size, which no sound layer is", z.max)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("decompress: %w", err)
	}
	return n, err
}

func (z *ratioReader) Close() error {
	z.close()
	return nil
}
