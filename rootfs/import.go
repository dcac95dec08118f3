// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	goruntime "runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// ImportOptions says what the image of an imported file tree is like.
type ImportOptions struct {
	// Config replaces the default configuration (PATH and a shell).
	Config *Config
	// Comment goes into the image's history.
	Comment string
	// Platform is what the files are for; the host's if nil.
	Platform *v1.Platform
	// Change, if set, alters the configuration.
	Change func(Config) (Config, error)
}

// defaultPath is the search path of an image that says none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Import makes an image of one layer from a tar stream, as it is or
// compressed with gzip, zstd or bzip2. It has no name if ref is empty. The stream is read once: it is
// unpacked, hashed and compressed at the same time.
func (s *Store) Import(ctx context.Context, r io.Reader, ref string, o ImportOptions) (_ *Image, err error) {
	var names []string
	if ref != "" {
		names = []string{ref}
	}
	cfg, err := importConfig(o)
	if err == nil {
		names, err = parseTags(names)
	}
	if err != nil {
		return nil, err
	}
	gc, err := s.lockGC(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	l, err := s.importLayer(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", cmp.Or(ref, "without a name"), err)
	}
	return s.PutImage(ctx, cfg, []LayerDescriptor{l}, names)
}

func importConfig(o ImportOptions) (Config, error) {
	now := time.Now().UTC()
	cfg := Config{}
	if o.Config != nil {
		cfg = *o.Config
	} else {
		cfg.Config = v1.ImageConfig{Env: []string{"PATH=" + defaultPath}, Cmd: []string{"/bin/bash"}}
	}
	if o.Platform != nil {
		cfg.Platform = *o.Platform
	}
	if cfg.Architecture == "" {
		cfg.Architecture, cfg.OS = goruntime.GOARCH, "linux"
	}
	if cfg.Created == nil {
		cfg.Created = &now
	}
	cfg.History = append(cfg.History, v1.History{Created: &now, CreatedBy: "cpc import", Comment: o.Comment})
	if o.Change != nil {
		return o.Change(cfg)
	}
	return cfg, nil
}

func (s *Store) importLayer(ctx context.Context, r io.Reader) (_ LayerDescriptor, err error) {
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return LayerDescriptor{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	in, err := layer.Decompress(r, s.o.Limits)
	if errors.Is(err, layer.ErrXz) {
		err = fmt.Errorf("%w: decompress it first, as in `xz -dc FILE | cpc import - NAME`", err)
	}
	if err != nil {
		return LayerDescriptor{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	c, err := newCompressor(w)
	if err != nil {
		return LayerDescriptor{}, err
	}
	if err := s.extract(ctx, io.TeeReader(in, c), w.path("layer"), true); err != nil {
		return LayerDescriptor{}, errors.Join(err, c.abort())
	}
	return s.finishLayer(c, w.path("layer"))
}

// finishLayer puts the compressed blob and the directory of a new layer in
// their places.
func (s *Store) finishLayer(c *compressor, dir string) (LayerDescriptor, error) {
	l, err := c.finish(s)
	if err != nil {
		return l, err
	}
	if err := s.syncfs(); err != nil {
		return l, fmt.Errorf("sync layer: %w", err)
	}
	if err := s.adopt(dir, l.DiffID); err != nil {
		return l, err
	}
	return l, atomicfile.SyncDir(s.path("layers", s.variant))
}

// compressor takes a tar stream and writes it as a gzip blob, beside the
// goroutine that unpacks or packs it.
type compressor struct {
	blob *blobWriter
	diff hash.Hash
	pipe *io.PipeWriter
	done chan struct{}
	err  error // of the goroutine, once done is closed
}

func newCompressor(w *workspace) (*compressor, error) {
	blob, err := w.newBlob("blob")
	if err != nil {
		return nil, err
	}
	r, pipe := io.Pipe()
	c := &compressor{blob: blob, diff: digest.SHA256.Hash(), pipe: pipe, done: make(chan struct{})}
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

func (c *compressor) finish(s *Store) (LayerDescriptor, error) {
	err := c.pipe.Close()
	<-c.done
	if err = errors.Join(err, c.err); err != nil {
		return LayerDescriptor{}, errors.Join(err, c.blob.f.Close())
	}
	d, err := c.blob.commit(s)
	return LayerDescriptor{
		Descriptor: v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: c.blob.size},
		DiffID:     digest.NewDigest(digest.SHA256, c.diff),
	}, err
}

// abort ends the goroutine. What it may complain about has reached the writer.
func (c *compressor) abort() error {
	err := c.pipe.CloseWithError(context.Canceled)
	<-c.done
	return errors.Join(err, c.blob.f.Close())
}
