// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Layer is one unpacked layer.
type Layer struct {
	DiffID digest.Digest
	Dir    string
}

// Layers makes sure that every layer of the image is unpacked, and returns
// them, bottom first. Use the image first, so that they stay.
func (s *Store) Layers(ctx context.Context, img *Image) ([]Layer, error) {
	return s.UnpackLayers(ctx, img.LayerDescriptors())
}

// UnpackLayers is Layers for a list that is no image yet.
func (s *Store) UnpackLayers(ctx context.Context, layers []LayerDescriptor) ([]Layer, error) {
	const atOnce = 4
	var out []Layer
	missing := false
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	seen := make(map[digest.Digest]bool)
	for _, l := range layers {
		if l.Empty {
			continue
		}
		if err := checkDigest(l.DiffID); err != nil {
			return nil, err
		}
		dir := s.layerDir(l.DiffID)
		out = append(out, Layer{DiffID: l.DiffID, Dir: dir})
		if s.haveLayer(l.DiffID) || seen[l.DiffID] {
			continue
		}
		seen[l.DiffID], missing = true, true
		g.Go(func() error { return s.unpack(gctx, l) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if missing {
		if err := atomicfile.SyncDir(s.path("layers", s.variant)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) haveLayer(diffID digest.Digest) bool {
	_, err := os.Lstat(s.layerDir(diffID))
	return err == nil
}

// unpack unpacks one blob, once among all processes.
func (s *Store) unpack(ctx context.Context, l LayerDescriptor) (err error) {
	lock, err := filelock.Acquire(ctx, s.path("locks", "unpack-"+l.DiffID.Encoded()), filelock.Exclusive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Remove()) }()
	if s.haveLayer(l.DiffID) {
		return nil
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := s.unpackInto(ctx, w, l); err != nil {
		return fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
	}
	if err := s.syncfs(); err != nil {
		return fmt.Errorf("sync layer %s: %w", l.Descriptor.Digest, err)
	}
	return s.adopt(w.path("layer"), l.DiffID)
}

// unpackInto unpacks and verifies: nothing of it counts before the digests of
// the blob and of the layer are known to be right.
func (s *Store) unpackInto(ctx context.Context, w *workspace, l LayerDescriptor) (err error) {
	blob, err := s.openBlob(l.Descriptor)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	r, err := layer.Decompress(blob, s.o.Limits)
	if err != nil {
		return s.orCorrupt(l.Descriptor, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	diff := digest.SHA256.Hash()
	if err := s.extract(ctx, io.TeeReader(r, diff), w.path("layer"), false); err != nil {
		return s.orCorrupt(l.Descriptor, err)
	}
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, diff); got != l.DiffID {
		return fmt.Errorf("%w: its diff id is %s, the image says %s", ErrCorrupt, got, l.DiffID)
	}
	return nil
}

// orCorrupt returns the reason behind the error if that is a damaged blob,
// which shows first as a stream that does not decompress or parse.
func (s *Store) orCorrupt(d v1.Descriptor, err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, context.Canceled) || s.haveBlob(d) {
		return err
	}
	return &CorruptError{Digest: d.Digest, Path: s.blobPath(d.Digest), Why: err.Error()}
}

// extract unpacks a tar stream into a new directory. Whole says that the end
// of the stream must be looked for, since there is no digest to go by.
func (s *Store) extract(ctx context.Context, r io.Reader, dir string, whole bool) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// The default for a layer that says nothing about its root.
	id, err := s.o.Mapping.ToStore(0)
	if err == nil {
		err = errors.Join(os.Lchown(dir, int(id), int(id)), os.Chmod(dir, 0o755))
	}
	if err != nil {
		return err
	}
	o := layer.UnpackOptions{Mapping: s.o.Mapping, Limits: s.o.Limits, Whole: whole, Warn: s.o.Warn}
	return layer.Unpack(ctx, bufio.NewReaderSize(r, 256<<10), dir, o)
}

// adopt moves an unpacked layer to its place. One that is there already is as
// good; the new one is left to its workspace then.
func (s *Store) adopt(dir string, diffID digest.Digest) error {
	err := os.Rename(dir, s.layerDir(diffID))
	if errors.Is(err, os.ErrExist) || s.haveLayer(diffID) {
		return nil
	}
	return err
}
