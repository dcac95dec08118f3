// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// MaxDocument bounds manifests and configurations, which are read into memory.
const MaxDocument = 8 << 20

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

// Unwrap makes the error ErrArrival for a blob from a registry, else ErrCorrupt.
func (e *CorruptError) Unwrap() error {
	if e.Path == "" {
		return ErrArrival
	}
	return ErrCorrupt
}

// CheckDigest refuses what is no digest, or not of SHA-256, which names all blobs here.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %s: only sha256 is supported", d)
	}
	return nil
}

// BlobWriter is a file of a batch, whose digest is computed as it is written.
type BlobWriter struct {
	f    *os.File
	hash hash.Hash
	size int64
}

// Write implements io.Writer.
func (w *BlobWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Close ends the writing.
func (w *BlobWriter) Close() error { return w.f.Close() }

// Open opens the file for reading, as long as it is not kept.
func (w *BlobWriter) Open() (*os.File, error) { return os.Open(w.f.Name()) }

// Digest is that of what was written.
func (w *BlobWriter) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, w.hash) }

// Size is how much was written, in bytes.
func (w *BlobWriter) Size() int64 { return w.size }

// Reader is where blobs are read from: a store, or a batch.
type Reader interface {
	// OpenBlob opens a blob for reading. What is read is verified.
	OpenBlob(d v1.Descriptor) (*Blob, error)
	// Stored reports whether there is a blob of that digest, sound or not.
	Stored(d digest.Digest) bool
}

// ReadDocument returns a small blob, verified.
func ReadDocument(from Reader, d v1.Descriptor) ([]byte, error) {
	if d.Size > MaxDocument {
		return nil, fmt.Errorf("blob %s: %d bytes are too many for a manifest or configuration", d.Digest, d.Size)
	}
	r, err := from.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	_, err = buf.ReadFrom(r)
	return buf.Bytes(), errors.Join(err, r.Close())
}

// Blob is a blob being read. The end of the stream comes only if the
// digest and the size are right.
type Blob struct {
	f    *os.File
	desc v1.Descriptor
	hash hash.Hash
	n    int64
}

// OpenBlob opens a blob for reading.
func (s *Store) OpenBlob(d v1.Descriptor) (*Blob, error) {
	if err := CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	return openBlob(s.blobPath(d.Digest), d)
}

func openBlob(path string, d v1.Descriptor) (*Blob, error) {
	f, err := ownfile.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &CorruptError{Digest: d.Digest, Path: path, Why: "the file is missing"}
	}
	if stray, ok := errors.AsType[*ownfile.StrayError](err); ok {
		return nil, &CorruptError{Digest: d.Digest, Path: stray.Path, Why: "it is " + stray.What}
	}
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return &Blob{f: f, desc: d, hash: digest.SHA256.Hash()}, nil
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
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

func (b *Blob) corrupt(why string) error {
	return &CorruptError{Digest: b.desc.Digest, Path: b.f.Name(), Why: why}
}

// Close ends the reading.
func (b *Blob) Close() error { return b.f.Close() }

// HaveBlob reports whether the blob is there and sound.
func (s *Store) HaveBlob(d v1.Descriptor) bool { return verify(s, d) == nil }

// verify reads a blob to its end.
func verify(from Reader, d v1.Descriptor) error {
	r, err := from.OpenBlob(d)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
	return errors.Join(err, r.Close())
}

// Stored reports whether there is a blob of that digest, sound or not.
func (s *Store) Stored(d digest.Digest) bool {
	_, err := os.Stat(s.blobPath(d))
	return err == nil
}

// BlobSize is how large the blob of that digest is on disk.
func (s *Store) BlobSize(d digest.Digest) (int64, error) {
	st, err := os.Stat(s.blobPath(d))
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
