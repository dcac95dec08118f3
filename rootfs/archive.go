// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// ErrNoArchive reports a file that holds no images.
var ErrNoArchive = hint.New("no image archive: neither an OCI image layout nor what docker save writes",
	"Use an archive from cpc save, docker save, podman save or skopeo. Import the tar of a root file system with: cpc import FILE NAME")

// maxArchiveFiles bounds the files of an archive.
const maxArchiveFiles = 100_000

// spool is an archive taken apart: its order is not known, so all of it is
// read first. What came is in files of a batch; nothing of the archive names
// a file on disk.
type spool struct {
	s     *Store
	b     *store.Batch
	files map[string]*store.BlobWriter
	links map[string]string
	// platform is the one wanted, all if nil; others says what an image is for
	// that is not.
	platform *v1.Platform
	others   error
	counted  layerCounter
	buf      []byte
}

// newSpool reads a tar, which may be compressed.
func newSpool(ctx context.Context, s *Store, b *store.Batch, r io.Reader) (_ *spool, err error) {
	if err := countAhead(ctx, r); err != nil {
		return nil, err
	}
	in, err := layer.Decompress(r, s.Options().Limits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	p := &spool{s: s, b: b, files: make(map[string]*store.BlobWriter), links: make(map[string]string), buf: make([]byte, 1<<20)}
	return p, p.read(ctx, tar.NewReader(in))
}

func (p *spool) read(ctx context.Context, tr *tar.Reader) error {
	left := p.s.Options().Limits.Total()
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) && n == 0 {
			return fmt.Errorf("%w: it is empty", ErrNoArchive)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) && n == 0 {
			return fmt.Errorf("%w: it is no tar", ErrNoArchive)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read archive: it ends too early, after %d files: %w", n, err)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if n >= maxArchiveFiles {
			return fmt.Errorf("read archive: more than %d files", maxArchiveFiles)
		}
		name := path.Clean("/" + hdr.Name)[1:]
		switch hdr.Typeflag {
		case tar.TypeReg:
			if left -= hdr.Size; left < 0 {
				return fmt.Errorf("read archive: larger than the limit of %d bytes", p.s.Options().Limits.Total())
			}
			if err := p.take(name, tr); err != nil {
				return fmt.Errorf("read archive: %s: %w", name, err)
			}
		case tar.TypeSymlink: // old archives have a layer once, and links to it
			p.links[name] = path.Join(path.Dir("/"+name), hdr.Linkname)[1:]
		case tar.TypeLink:
			p.links[name] = path.Clean("/" + hdr.Linkname)[1:]
		}
	}
}

func (p *spool) take(name string, r io.Reader) error {
	b, err := p.b.Create()
	if err != nil {
		return err
	}
	c := p.counted.file(name)
	_, err = io.CopyBuffer(io.MultiWriter(b, c), r, p.buf)
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	p.files[name] = b
	return nil
}

// find returns the file that an archive calls name.
func (p *spool) find(name string) (*store.BlobWriter, bool) {
	name = path.Clean("/" + name)[1:]
	for range 8 {
		if f, ok := p.files[name]; ok {
			return f, true
		}
		to, ok := p.links[name]
		if !ok {
			return nil, false
		}
		name = to
	}
	return nil, false
}

func (p *spool) document(name string) ([]byte, error) {
	f, ok := p.find(name)
	if !ok {
		return nil, fmt.Errorf("%w: %s is missing", ErrNoArchive, name)
	}
	if f.Size() > store.MaxDocument {
		return nil, fmt.Errorf("%s: %d bytes are too many", name, f.Size())
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// blob makes a file of the archive's layout a blob, if the store does not have it.
func (p *spool) blob(d v1.Descriptor) error {
	if err := store.CheckDigest(d.Digest); err != nil {
		return err
	}
	f, ok := p.find(blobName(d.Digest))
	if !ok {
		if p.s.HaveBlob(d) {
			return nil
		}
		return fmt.Errorf("%w: blob %s is missing from the archive", ErrCorrupt, d.Digest)
	}
	if f.Digest() != d.Digest || f.Size() != d.Size {
		return &CorruptError{Digest: d.Digest, Why: fmt.Sprintf("the archive has %d bytes with the digest %s", f.Size(), f.Digest())}
	}
	p.b.Add(f)
	return nil
}

// isLayout reports whether the archive holds an OCI image layout.
func (p *spool) isLayout() bool {
	_, index := p.find(v1.ImageIndexFile)
	_, layout := p.find(v1.ImageLayoutFile)
	return index && layout
}

// tagOnly reports whether an annotation is a tag without a name, as umoci and
// skopeo write it.
func tagOnly(name string) bool { return !strings.ContainsAny(name, ":/") }
