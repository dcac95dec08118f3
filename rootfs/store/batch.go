// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Batch is the way by which blobs, layers and images come into a store; there is
// no other one.
//
// Contract:
//
//   - Atomicity. Nothing that is put into a batch can be seen in the store before
//     Keep or Commit. Commit changes the index once, after everything is in its
//     place: the names appear together or not at all.
//   - Durability. Keep and Commit make everything durable before the first rename,
//     and the renames before the index changes. A crash at any instant leaves
//     garbage, which Open and Collect remove, and never a name without its blobs.
//   - Verification. What has a digest that was promised is compared with it before
//     it is staged; the error is ErrCorrupt.
//   - Idempotence. What the store has already may be put in again: a blob replaces
//     the one that is there, which may have gone bad; a layer leaves it.
//   - Collection. Nothing is collected while a batch is open.
//   - Reading. A batch is a Reader of what is staged in it and of the store.
//   - Close gives up everything that was not kept. It is to be called in any case,
//     once. A download that broke off stays, to be taken up again.
//   - Concurrency. Blob, Document, Layer and Upper may be called by several goroutines
//     at a time; Claim, Keep, Commit and Close by one, while no other call is under way.
//   - Locks are taken in this order: gc, the partial downloads that Claim is told, in
//     the order of their digests; then index, in Commit only. The locks of layers that
//     are being unpacked are tried and never waited for.
type Batch struct {
	s  *Store
	gc *filelock.Lock
	w  *workspace

	mu     sync.Mutex // guards what follows
	files  int
	blobs  map[digest.Digest]string // files to place
	layers []*staged                // directories to place
	parts  map[digest.Digest]*Part  // that Claim has locked
	whole  []*Part                  // among blobs
}

// staged is an unpacked and verified layer that is not in its place.
type staged struct {
	diffID digest.Digest
	dir    string
	lock   *filelock.Lock // nil for a new layer
	taken  bool           // dir is not in the workspace
}

func (l *staged) drop() error {
	err := layer.Remove(l.dir)
	if l.lock != nil {
		err = errors.Join(err, l.lock.Remove())
	}
	return err
}

// Begin opens a batch.
func (s *Store) Begin(ctx context.Context) (*Batch, error) {
	gc, err := s.lockGC(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return nil, errors.Join(err, gc.Close())
	}
	return &Batch{s: s, gc: gc, w: w, blobs: make(map[digest.Digest]string), parts: make(map[digest.Digest]*Part)}, nil
}

// Create returns a new file of the batch, which is no blob before Add.
func (b *Batch) Create() (*BlobWriter, error) {
	f, err := os.OpenFile(b.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &BlobWriter{f: f, hash: digest.SHA256.Hash()}, nil
}

// path returns a new name in the workspace.
func (b *Batch) path() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files++
	return b.w.path(strconv.Itoa(b.files))
}

// Add makes a file that was closed a blob of the batch.
func (b *Batch) Add(w *BlobWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs[w.Digest()] = w.f.Name()
}

// Blob reads a blob, which has to be what the descriptor says.
func (b *Batch) Blob(r io.Reader, d v1.Descriptor) error {
	w, err := b.Create()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(r, d.Size+1))
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if got := w.Digest(); got != d.Digest || w.Size() != d.Size {
		return &CorruptError{Digest: d.Digest, Why: fmt.Sprintf("got %d bytes with the digest %s", w.Size(), got)}
	}
	b.Add(w)
	return nil
}

// Document takes a manifest, a configuration or another small blob.
func (b *Batch) Document(data []byte, mediaType string) (v1.Descriptor, error) {
	w, err := b.Create()
	if err != nil {
		return v1.Descriptor{}, err
	}
	_, err = w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil {
		return v1.Descriptor{}, err
	}
	b.Add(w)
	return v1.Descriptor{MediaType: mediaType, Digest: w.Digest(), Size: w.Size()}, nil
}

// JSON is Document for a value.
func (b *Batch) JSON(v any, mediaType string) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return b.Document(data, mediaType)
}

// OpenBlob opens a blob that is staged, or one of the store.
func (b *Batch) OpenBlob(d v1.Descriptor) (*Blob, error) {
	b.mu.Lock()
	path, ok := b.blobs[d.Digest]
	b.mu.Unlock()
	if !ok {
		return b.s.OpenBlob(d)
	}
	return openBlob(path, d)
}

// Stored reports whether a blob is staged or in the store.
func (b *Batch) Stored(d digest.Digest) bool {
	b.mu.Lock()
	_, ok := b.blobs[d]
	b.mu.Unlock()
	return ok || b.s.Stored(d)
}

// Unpack makes sure that layers, whose blobs may be staged, are unpacked and in
// their places. Those that another process is unpacking are waited for: call it
// when no layer is staged.
func (b *Batch) Unpack(ctx context.Context, layers []LayerDescriptor, tell func(Event)) error {
	_, err := unpacker{s: b.s, from: b, tell: tell}.all(ctx, layers)
	return err
}

// Commit is Keep and one change of the index.
func (b *Batch) Commit(ctx context.Context, change func(*v1.Index) error) error {
	if err := b.Keep(); err != nil {
		return err
	}
	return b.s.Change(ctx, change)
}

// Keep puts everything that is staged in its place, durably. No name refers to it
// yet, and a later collection may remove it. What fails is no longer staged either.
func (b *Batch) Keep() error {
	blobs, layers, whole := b.blobs, b.layers, b.whole
	b.blobs, b.layers, b.whole = make(map[digest.Digest]string), nil, nil
	err := b.s.settle(blobs, layers, len(whole) > 0)
	for _, p := range whole {
		err = errors.Join(err, p.close())
	}
	return err
}

// Close gives up what was not kept.
func (b *Batch) Close() error {
	var errs []error
	for _, l := range b.layers {
		if l.lock != nil {
			errs = append(errs, l.lock.Remove())
		}
	}
	for _, p := range b.whole {
		errs = append(errs, p.close())
	}
	for _, p := range b.parts {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, b.w.close(), b.gc.Close())...)
}

// manyFiles is from how many files on one call for the whole file system is cheaper
// than one for each.
const manyFiles = 8

// settle is the one place where anything comes to its place: one sync, the renames,
// and the directories. It gives up the locks of the layers, also if it fails.
func (s *Store) settle(blobs map[digest.Digest]string, layers []*staged, large bool) error {
	err := s.syncStaged(blobs, large || len(layers) > 0)
	if err != nil {
		err = fmt.Errorf("sync store: %w", err)
		clear(blobs)
	}
	s.step("synced")
	for d, path := range blobs {
		if e := os.Rename(path, s.blobPath(d)); e != nil {
			err = errors.Join(err, fmt.Errorf("write blob %s: %w", d, e))
		}
		s.step("blob placed")
	}
	for _, l := range layers {
		if err == nil {
			err = s.adopt(l)
			s.step("layer placed")
		}
		if l.lock != nil {
			err = errors.Join(err, l.lock.Remove())
		}
	}
	if len(blobs) > 0 {
		e := atomicfile.SyncDir(s.path(blobDir)) // what is in its place stays there
		err = errors.Join(err, e)
	}
	if len(layers) > 0 {
		e := atomicfile.SyncDir(s.path("layers", s.variant))
		err = errors.Join(err, e)
	}
	s.step("places synced")
	return err
}

// syncStaged makes what is staged durable.
func (s *Store) syncStaged(blobs map[digest.Digest]string, all bool) error {
	if all || len(blobs) >= manyFiles {
		return s.syncfs()
	}
	for _, path := range blobs {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// adopt moves an unpacked layer to its place. One that is there already is as
// good; the new one goes then.
func (s *Store) adopt(l *staged) error {
	err := os.Rename(l.dir, s.layerDir(l.diffID))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrExist) && !s.HaveLayer(l.diffID):
		return err
	case l.taken:
		return layer.Remove(l.dir)
	}
	return nil
}
