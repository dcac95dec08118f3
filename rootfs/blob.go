// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// maxDocument bounds manifests and configurations, which are read into memory.
const maxDocument = 8 << 20

// CorruptError says which blob is not what its digest says. It is ErrCorrupt.
type CorruptError struct {
	Digest digest.Digest
	// Path is the blob's file; empty if it was on its way from a registry.
	Path string
	Why  string
}

func (e *CorruptError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("blob %s: corrupt on arrival: %s", e.Digest, e.Why)
	}
	return fmt.Sprintf("blob %s: corrupt: %s (%s): remove the image and pull, import or build it again", e.Digest, e.Why, e.Path)
}

// Is makes the error ErrCorrupt and, for a blob from a registry, ErrArrival.
func (e *CorruptError) Is(target error) bool {
	return target == ErrCorrupt || target == ErrArrival && e.Path == ""
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %s: only sha256 is supported", d)
	}
	return nil
}

func (s *Store) blobPath(d digest.Digest) string {
	return s.path("oci/blobs/sha256", d.Encoded())
}

// blobWriter writes a blob into a workspace and computes its digest.
type blobWriter struct {
	f    *os.File
	hash hash.Hash
	size int64
}

func (w *workspace) newBlob(name string) (*blobWriter, error) {
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &blobWriter{f: f, hash: digest.SHA256.Hash()}, nil
}

func (b *blobWriter) Write(p []byte) (int, error) {
	n, err := b.f.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

func (b *blobWriter) digest() digest.Digest {
	return digest.NewDigest(digest.SHA256, b.hash)
}

// commit moves the blob to its place, also over one of the same digest, which
// may have gone bad.
func (b *blobWriter) commit(s *Store) (digest.Digest, error) {
	d := b.digest()
	if err := errors.Join(b.f.Sync(), b.f.Close()); err != nil {
		return "", fmt.Errorf("write blob %s: %w", d, err)
	}
	if err := os.Rename(b.f.Name(), s.blobPath(d)); err != nil { //nolint:forbidigo // the store names what it has synced by its digest
		return "", fmt.Errorf("write blob %s: %w", d, err)
	}
	return d, atomicfile.SyncDir(s.path("oci/blobs/sha256"))
}

// putDocument stores a manifest or a configuration.
func (s *Store) putDocument(ctx context.Context, data []byte, mediaType string) (_ v1.Descriptor, err error) {
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	b, err := w.newBlob("document")
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := b.Write(data); err != nil {
		return v1.Descriptor{}, errors.Join(err, b.f.Close())
	}
	d, err := b.commit(s)
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, err
}

// readDocument returns a small blob, verified.
func (s *Store) readDocument(d v1.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, fmt.Errorf("blob %s: %d bytes are too many for a manifest or configuration", d.Digest, d.Size)
	}
	r, err := s.openBlob(d)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	_, err = buf.ReadFrom(r)
	return buf.Bytes(), errors.Join(err, r.Close())
}

// verifiedBlob is a blob being read. The end of the stream comes only if the
// digest and the size are right.
type verifiedBlob struct {
	f    *os.File
	desc v1.Descriptor
	hash hash.Hash
	n    int64
}

func (s *Store) openBlob(d v1.Descriptor) (*verifiedBlob, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	f, err := ownfile.Open(s.blobPath(d.Digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &CorruptError{Digest: d.Digest, Path: s.blobPath(d.Digest), Why: "the file is missing"}
	}
	if stray, ok := errors.AsType[*ownfile.StrayError](err); ok {
		return nil, &CorruptError{Digest: d.Digest, Path: stray.Path, Why: "it is " + stray.What}
	}
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return &verifiedBlob{f: f, desc: d, hash: digest.SHA256.Hash()}, nil
}

func (b *verifiedBlob) Read(p []byte) (int, error) {
	n, err := b.f.Read(p)
	b.hash.Write(p[:n])
	b.n += int64(n)
	if b.n > b.desc.Size {
		return 0, b.corrupt(fmt.Sprintf("more than the %d bytes it should have", b.desc.Size))
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if b.n != b.desc.Size {
		return 0, b.corrupt(fmt.Sprintf("%d bytes instead of %d", b.n, b.desc.Size))
	}
	if got := digest.NewDigest(digest.SHA256, b.hash); got != b.desc.Digest {
		return 0, b.corrupt("content has the digest " + got.String())
	}
	return n, err
}

func (b *verifiedBlob) corrupt(why string) error {
	return &CorruptError{Digest: b.desc.Digest, Path: b.f.Name(), Why: why}
}

func (b *verifiedBlob) Close() error { return b.f.Close() }

// haveBlob reports whether the blob is there and sound.
func (s *Store) haveBlob(d v1.Descriptor) bool {
	return s.verifyBlob(d) == nil
}
