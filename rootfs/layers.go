// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

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
	return s.unpackLayers(ctx, layers, oneAtATime(s.o.Progress))
}

// oneAtATime lets events come from several goroutines.
func oneAtATime(tell func(Event)) func(Event) {
	if tell == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		tell(e)
	}
}

func (s *Store) unpackLayers(ctx context.Context, layers []LayerDescriptor, tell func(Event)) ([]Layer, error) {
	var out []Layer
	missing := make(map[digest.Digest]LayerDescriptor)
	for _, l := range layers {
		if l.Empty {
			continue
		}
		if err := checkDigest(l.DiffID); err != nil {
			return nil, err
		}
		out = append(out, Layer{DiffID: l.DiffID, Dir: s.layerDir(l.DiffID)})
		missing[l.DiffID] = l
	}
	for {
		maps.DeleteFunc(missing, func(d digest.Digest, _ LayerDescriptor) bool { return s.haveLayer(d) })
		if len(missing) == 0 {
			return out, nil
		}
		for _, l := range missing { // also what another process unpacks is waited for
			tell(Event{Action: "unpack", Digest: l.Descriptor.Digest, Total: l.Descriptor.Size})
		}
		claimed, err := s.claim(ctx, missing)
		if err == nil {
			err = s.unpackAll(ctx, claimed, tell)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *Store) unpackLock(diffID digest.Digest) string {
	return s.path("locks", "unpack-"+diffID.Encoded())
}

// claim takes those layers that no other process is unpacking, or waits for
// one. It never waits while it holds one, or two processes could wait for each
// other.
func (s *Store) claim(ctx context.Context, missing map[digest.Digest]LayerDescriptor) ([]*arrival, error) {
	var claimed []*arrival
	for d, l := range missing {
		lock, err := filelock.Try(s.unpackLock(d), filelock.Exclusive)
		if errors.Is(err, filelock.ErrBusy) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, dropAll(claimed))
		}
		claimed = append(claimed, &arrival{l: l, lock: lock})
	}
	if len(claimed) > 0 {
		return claimed, nil
	}
	for d, l := range missing {
		lock, err := filelock.Acquire(ctx, s.unpackLock(d), filelock.Exclusive)
		if err != nil {
			return nil, err
		}
		return []*arrival{{l: l, lock: lock}}, nil
	}
	return nil, nil
}

func dropAll(all []*arrival) error {
	var errs []error
	for _, a := range all {
		errs = append(errs, a.drop())
	}
	return errors.Join(errs...)
}

// unpackAll unpacks layers that were claimed, and gives the claims up.
func (s *Store) unpackAll(ctx context.Context, claimed []*arrival, tell func(Event)) error {
	const atOnce = 4
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, a := range claimed {
		g.Go(func() error {
			if s.haveLayer(a.l.DiffID) {
				return nil
			}
			w, err := s.newWorkspace(gctx)
			if err != nil {
				return err
			}
			if err := s.unpackInto(gctx, w, a.l, tell); err != nil {
				return errors.Join(fmt.Errorf("layer %s: %w", a.l.Descriptor.Digest, err), w.close())
			}
			a.work = w
			return nil
		})
	}
	err := g.Wait()
	var done []*arrival
	for _, a := range claimed {
		if a.work != nil {
			done = append(done, a)
		}
	}
	for _, a := range done {
		tell(Event{Action: "sync", Digest: a.l.Descriptor.Digest, Done: a.l.Descriptor.Size, Total: a.l.Descriptor.Size})
	}
	settled := s.settle(done) // also when another layer has failed
	for _, a := range done {
		if settled == nil {
			tell(Event{Action: "ready", Digest: a.l.Descriptor.Digest, Done: a.l.Descriptor.Size, Total: a.l.Descriptor.Size})
		}
	}
	return errors.Join(err, settled, dropAll(claimed))
}

func (s *Store) haveLayer(diffID digest.Digest) bool {
	_, err := os.Lstat(s.layerDir(diffID))
	return err == nil
}

// unpackInto unpacks and verifies: nothing of it counts before the digests of
// the blob and of the layer are known to be right.
func (s *Store) unpackInto(ctx context.Context, w *workspace, l LayerDescriptor, tell func(Event)) (err error) {
	blob, err := s.openBlob(l.Descriptor)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	return s.orCorrupt(l.Descriptor, s.unpackStream(ctx, metered{blob, &meter{tell: tell, action: "unpack", desc: l.Descriptor}}, w.path("layer"), l.DiffID))
}

// orCorrupt returns the reason behind the error if that is a damaged blob,
// which shows first as a stream that does not decompress or parse.
func (s *Store) orCorrupt(d v1.Descriptor, err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, context.Canceled) || s.haveBlob(d) {
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
		err = os.Lchown(dir, int(id), int(id))
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
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
	err := os.Rename(dir, s.layerDir(diffID)) //nolint:forbidigo // the store names what it has synced by its digest
	if errors.Is(err, os.ErrExist) || s.haveLayer(diffID) {
		return nil
	}
	return err
}
