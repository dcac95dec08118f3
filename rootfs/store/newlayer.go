// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Tar stages a new layer, unpacked and as a blob, from a tar stream, as it is or
// compressed. The stream is read once: it is unpacked, hashed and compressed at the
// same time.
func (b *Batch) Tar(ctx context.Context, r io.Reader) (_ LayerDescriptor, err error) {
	in, err := layer.Decompress(r, b.s.o.Limits)
	if err != nil {
		return LayerDescriptor{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	c, err := b.newCompressor()
	if err != nil {
		return LayerDescriptor{}, err
	}
	dir := b.path()
	if err := b.s.extract(ctx, io.TeeReader(in, c), dir, true); err != nil {
		return LayerDescriptor{}, errors.Join(err, c.abort())
	}
	return b.newLayer(c, &staged{dir: dir})
}

// Compress stages a layer's blob alone, from a tar stream that is known to be sound.
func (b *Batch) Compress(r io.Reader) (v1.Descriptor, error) {
	c, err := b.newCompressor()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := io.CopyBuffer(c, r, make([]byte, 1<<20)); err != nil {
		return v1.Descriptor{}, errors.Join(err, c.abort())
	}
	l, err := c.finish()
	return l.Descriptor, err
}

// Upper stages the upper directory of an overlay, which is not mounted any more and
// holds store ids, as a layer. The directory must be in the store's file system (a
// scratch directory is) and is taken over by Keep. Without a change it is no layer.
func (b *Batch) Upper(ctx context.Context, upper string) (l LayerDescriptor, err error) {
	changed, err := layer.Changed(upper, b.s.o.Mapping)
	if err != nil || !changed {
		return LayerDescriptor{Empty: true}, err
	}
	c, err := b.newCompressor()
	if err != nil {
		return l, err
	}
	buf := bufio.NewWriterSize(c, 256<<10)
	err = layer.Pack(ctx, buf, upper, layer.PackOptions{Mapping: b.s.o.Mapping, Limits: b.s.o.Limits, Warn: b.s.o.Warn})
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return l, errors.Join(err, c.abort())
	}
	return b.newLayer(c, &staged{dir: upper, taken: true})
}

// newLayer stages the directory of a layer with its blob.
func (b *Batch) newLayer(c *compressor, dir *staged) (LayerDescriptor, error) {
	l, err := c.finish()
	if err != nil {
		return l, err
	}
	dir.diffID = l.DiffID
	b.mu.Lock()
	defer b.mu.Unlock()
	b.layers = append(b.layers, dir)
	return l, nil
}

// CommitUpper is a batch of one upper directory, which is kept. Nothing of the store
// is collected from then on until Close, since only the caller knows what the layer is
// for.
func (s *Store) CommitUpper(ctx context.Context, upper string) (l LayerDescriptor, err error) {
	if err := s.HoldUntilClose(ctx); err != nil {
		return l, err
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if l, err = b.Upper(ctx, upper); err == nil {
		err = b.Keep()
	}
	if err != nil {
		return l, fmt.Errorf("commit %s: %w", upper, err)
	}
	return l, nil
}

// compressor takes a tar stream and writes it as a gzip blob, beside the
// goroutine that unpacks or packs it.
type compressor struct {
	b    *Batch
	blob *BlobWriter
	diff hash.Hash
	pipe *io.PipeWriter
	done chan struct{}
	err  error // of the goroutine, once done is closed
}

func (b *Batch) newCompressor() (*compressor, error) {
	blob, err := b.Create()
	if err != nil {
		return nil, err
	}
	r, pipe := io.Pipe()
	c := &compressor{b: b, blob: blob, diff: digest.SHA256.Hash(), pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = c.compress(r)
		c.err = errors.Join(c.err, r.CloseWithError(c.err))
	}()
	return c, nil
}

func (c *compressor) compress(r io.Reader) error {
	// Level 1: a layer is read often and sent rarely.
	z, err := gzip.NewWriterLevel(c.blob, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(z, io.TeeReader(r, c.diff), make([]byte, 512<<10)); err != nil {
		return err
	}
	return z.Close()
}

// Write adds to the tar stream.
func (c *compressor) Write(p []byte) (int, error) { return c.pipe.Write(p) }

// finish makes the blob one of the batch.
func (c *compressor) finish() (LayerDescriptor, error) {
	err := c.pipe.Close()
	<-c.done
	if err = errors.Join(err, c.err, c.blob.Close()); err != nil {
		return LayerDescriptor{}, err
	}
	c.b.Add(c.blob)
	return LayerDescriptor{
		Descriptor: v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: c.blob.Digest(), Size: c.blob.size},
		DiffID:     digest.NewDigest(digest.SHA256, c.diff),
	}, nil
}

// abort ends the goroutine. What it may complain about has reached the writer.
func (c *compressor) abort() error {
	err := c.pipe.CloseWithError(context.Canceled)
	<-c.done
	return errors.Join(err, c.blob.Close())
}
