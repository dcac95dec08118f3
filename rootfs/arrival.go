// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// arrival is a layer that has come, or been unpacked, and is verified, but not
// yet in its place. One sync makes many of them durable.
type arrival struct {
	l    LayerDescriptor
	part *halfBlob // the blob; nil if it is in its place
	// work holds the unpacked layer, under lock; nil without one.
	work *workspace
	lock *filelock.Lock
}

// drop gives up the unpacked layer.
func (a *arrival) drop() error {
	var errs []error
	if a.work != nil {
		errs = append(errs, a.work.close())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.Remove())
	}
	a.work, a.lock = nil, nil
	return errors.Join(errs...)
}

// settle makes arrivals durable, puts them in their places, and gives up what
// they hold, also if that fails.
func (s *Store) settle(all []*arrival) error {
	if len(all) == 0 {
		return nil
	}
	err := s.syncfs()
	if err != nil {
		err = fmt.Errorf("sync store: %w", err)
	}
	var errs []error
	for _, a := range all {
		if err == nil {
			errs = append(errs, s.place(a))
		}
		errs = append(errs, a.drop())
		if a.part != nil {
			errs = append(errs, a.part.close())
		}
	}
	return errors.Join(append(errs, err, atomicfile.SyncDir(s.path("oci/blobs/sha256")), atomicfile.SyncDir(s.path("layers", s.variant)))...)
}

func (s *Store) place(a *arrival) error {
	if a.part != nil {
		if err := os.Rename(a.part.blob.f.Name(), s.blobPath(a.l.Descriptor.Digest)); err != nil { //nolint:forbidigo // the store names what it has synced by its digest
			return err
		}
	}
	if a.work == nil {
		return nil
	}
	return s.adopt(a.work.path("layer"), a.l.DiffID)
}

// unpackArriving unpacks a layer while its blob is being downloaded. Another
// process that unpacks the same layer is left to it.
func (s *Store) unpackArriving(ctx context.Context, a *arrival, r *growing) error {
	if s.haveLayer(a.l.DiffID) {
		return nil
	}
	lock, err := filelock.Try(s.unpackLock(a.l.DiffID), filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	a.lock = lock
	if s.haveLayer(a.l.DiffID) {
		return nil
	}
	if a.work, err = s.newWorkspace(ctx); err != nil {
		return err
	}
	return s.unpackStream(ctx, r, a.work.path("layer"), a.l.DiffID)
}

// unpackStream unpacks a compressed stream, whose own digest is the caller's to
// verify, and verifies the layer's.
func (s *Store) unpackStream(ctx context.Context, r io.Reader, dir string, want digest.Digest) (err error) {
	in, err := layer.Decompress(r, s.o.Limits)
	if err != nil {
		return err
	}
	ahead := layer.Ahead(in)
	defer func() { err = errors.Join(err, ahead.Close()) }()
	diff := digest.SHA256.Hash()
	if err := s.extract(ctx, io.TeeReader(ahead, diff), dir, false); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, diff); got != want {
		return fmt.Errorf("%w: its diff id is %s, the image says %s", ErrArrival, got, want)
	}
	return nil
}

// growing reads a file that another goroutine still writes to, and so never
// holds the writer up.
type growing struct {
	f      *os.File
	read   int64
	behind *meter // of what is read after all of it has come; nil without one

	mu   sync.Mutex // guards what follows
	more sync.Cond
	size int64
	done bool
	err  error
}

func newGrowing(f *os.File, size int64) *growing {
	g := &growing{f: f, size: size}
	g.more.L = &g.mu
	return g
}

// grow says that n bytes more are there.
func (g *growing) grow(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size += int64(n)
	g.more.Broadcast()
}

// finish says that there will be no more, and why.
func (g *growing) finish(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done, g.err = true, err
	g.more.Broadcast()
}

// Read waits for bytes to come.
func (g *growing) Read(p []byte) (int, error) {
	g.mu.Lock()
	for g.read == g.size && !g.done {
		g.more.Wait()
	}
	size, done, err := g.size, g.done, g.err
	g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if g.read == size {
		return 0, io.EOF
	}
	n, err := g.f.ReadAt(p[:min(int64(len(p)), size-g.read)], g.read)
	g.read += int64(n)
	if done && g.behind != nil {
		g.behind.at(g.read)
	}
	return n, err
}
