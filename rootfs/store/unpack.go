// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

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
	return unpacker{s: s, from: s, tell: OneAtATime(s.o.Progress)}.all(ctx, layers)
}

// OneAtATime lets events come from several goroutines.
func OneAtATime(tell func(Event)) func(Event) {
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

// unpacker unpacks layers whose blobs are there.
type unpacker struct {
	s    *Store
	from Reader
	tell func(Event)
}

// all makes sure that layers are unpacked, and returns them in the same order.
func (u unpacker) all(ctx context.Context, layers []LayerDescriptor) ([]Layer, error) {
	var out []Layer
	missing := make(map[digest.Digest]LayerDescriptor)
	for _, l := range layers {
		if l.Empty {
			continue
		}
		if err := CheckDigest(l.DiffID); err != nil {
			return nil, err
		}
		out = append(out, Layer{DiffID: l.DiffID, Dir: u.s.layerDir(l.DiffID)})
		missing[l.DiffID] = l
	}
	for {
		maps.DeleteFunc(missing, func(d digest.Digest, _ LayerDescriptor) bool { return u.s.HaveLayer(d) })
		if len(missing) == 0 {
			return out, nil
		}
		for _, l := range missing { // also what another process unpacks is waited for
			u.tell(Event{Action: "unpack", Digest: l.Descriptor.Digest, Total: l.Descriptor.Size})
		}
		claimed, err := u.claim(ctx, missing)
		if err == nil {
			err = u.claimed(ctx, claimed)
		}
		if err != nil {
			return nil, err
		}
	}
}

// claim is a layer that nobody else unpacks as long as it is held.
type claim struct {
	l    LayerDescriptor
	lock *filelock.Lock
	work *workspace // holds the layer; nil before it is unpacked
}

func (c *claim) drop() error {
	var errs []error
	if c.work != nil {
		errs = append(errs, c.work.close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Remove())
	}
	return errors.Join(errs...)
}

func dropAll(all []*claim) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.drop())
	}
	return errors.Join(errs...)
}

// claim takes those layers that no other process is unpacking, or waits for
// one. It never waits while it holds one, or two processes could wait for each
// other.
func (u unpacker) claim(ctx context.Context, missing map[digest.Digest]LayerDescriptor) ([]*claim, error) {
	var claimed []*claim
	for d, l := range missing {
		lock, err := filelock.Try(u.s.unpackLock(d), filelock.Exclusive)
		if errors.Is(err, filelock.ErrBusy) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, dropAll(claimed))
		}
		claimed = append(claimed, &claim{l: l, lock: lock})
	}
	if len(claimed) > 0 {
		return claimed, nil
	}
	for d, l := range missing {
		lock, err := filelock.Acquire(ctx, u.s.unpackLock(d), filelock.Exclusive)
		if err != nil {
			return nil, err
		}
		return []*claim{{l: l, lock: lock}}, nil
	}
	return nil, nil
}

// claimed unpacks layers that were claimed, and gives the claims up.
func (u unpacker) claimed(ctx context.Context, all []*claim) error {
	const atOnce = 4
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, c := range all {
		g.Go(func() error {
			if u.s.HaveLayer(c.l.DiffID) {
				return nil
			}
			w, err := u.s.newWorkspace(gctx)
			if err != nil {
				return err
			}
			if err := u.into(gctx, w, c.l); err != nil {
				return errors.Join(fmt.Errorf("layer %s: %w", c.l.Descriptor.Digest, err), w.close())
			}
			c.work = w
			return nil
		})
	}
	err := g.Wait()
	var done []*staged
	told := func(action string) {
		for _, c := range all {
			if d := c.l.Descriptor; c.work != nil {
				u.tell(Event{Action: action, Digest: d.Digest, Done: d.Size, Total: d.Size})
			}
		}
	}
	for _, c := range all {
		if c.work != nil {
			done = append(done, &staged{diffID: c.l.DiffID, dir: c.work.path("layer"), lock: c.lock})
			c.lock = nil
		}
	}
	told("sync")
	settled := u.s.settle(nil, done, false) // also when another layer has failed
	if settled == nil {
		told("ready")
	}
	return errors.Join(err, settled, dropAll(all))
}

// HaveLayer reports whether a layer is unpacked.
func (s *Store) HaveLayer(diffID digest.Digest) bool {
	_, err := os.Lstat(s.layerDir(diffID))
	return err == nil
}

// into unpacks and verifies: nothing of it counts before the digests of the blob
// and of the layer are known to be right.
func (u unpacker) into(ctx context.Context, w *workspace, l LayerDescriptor) (err error) {
	blob, err := u.from.OpenBlob(l.Descriptor)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	counted := metered{blob, &Meter{Tell: u.tell, Action: "unpack", Blob: l.Descriptor}}
	return u.orCorrupt(l.Descriptor, u.s.unpackStream(ctx, counted, w.path("layer"), l.DiffID))
}

// orCorrupt returns the reason behind the error if that is a damaged blob,
// which shows first as a stream that does not decompress or parse.
func (u unpacker) orCorrupt(d v1.Descriptor, err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, context.Canceled) {
		return err
	}
	if blob := verify(u.from, d); blob == nil {
		return err
	}
	return &CorruptError{Digest: d.Digest, Path: u.s.blobPath(d.Digest), Why: err.Error()}
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
