// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// ErrNoResume is the error of a download that cannot go on where it ended.
var ErrNoResume = errors.New("the registry cannot resume the download")

// Part is what there is of a blob that is being downloaded. It has a name of its
// own in the store, so that a later batch goes on with it.
type Part struct {
	// Pieced: it is of more than one request, which may be why it comes to nothing.
	// Who makes the requests says so. Then it is begun anew, once.
	Pieced bool

	lock  *filelock.Lock
	w     *BlobWriter
	grows *growing
}

// Size is how many bytes there are.
func (p *Part) Size() int64 { return p.w.size }

// Write adds to the end.
func (p *Part) Write(data []byte) (int, error) {
	n, err := p.w.Write(data)
	p.grows.grow(n)
	return n, err
}

// restart drops what there is.
func (p *Part) restart() error {
	p.w.hash.Reset()
	p.w.size = 0
	if _, err := p.w.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.w.f.Truncate(0)
}

// close keeps the file for another time.
func (p *Part) close() error { return errors.Join(p.w.f.Close(), p.lock.Remove()) }

// discard removes the file: it is of no use, or there is no room for it.
func (p *Part) discard() error { return errors.Join(os.Remove(p.w.f.Name()), p.close()) }

// openPart waits until nobody else downloads the blob, and computes the digest of
// what there is of it.
func (s *Store) openPart(ctx context.Context, d v1.Descriptor) (_ *Part, err error) {
	if err := os.MkdirAll(s.path("partial"), 0o700); err != nil {
		return nil, err
	}
	lock, err := filelock.Acquire(ctx, s.path("locks", "partial-"+d.Digest.Encoded()), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	f, err := ownfile.OpenFile(s.path("partial", d.Digest.Encoded()), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Join(err, lock.Remove())
	}
	p := &Part{lock: lock, w: &BlobWriter{f: f, hash: digest.SHA256.Hash()}}
	if p.w.size, err = io.CopyBuffer(struct{ io.Writer }{p.w.hash}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err == nil && p.w.size > d.Size {
		err = p.restart()
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// Claim waits until nobody else downloads the blobs of these layers, each of which
// is given to Layer then. All that are going to be kept together are claimed
// together, in the order of their digests: two batches that had one each would wait
// for each other for ever.
func (b *Batch) Claim(ctx context.Context, layers []LayerDescriptor) error {
	sorted := slices.SortedFunc(slices.Values(layers), func(x, y LayerDescriptor) int {
		return strings.Compare(x.Descriptor.Digest.String(), y.Descriptor.Digest.String())
	})
	for _, l := range sorted {
		p, err := b.s.openPart(ctx, l.Descriptor)
		if err != nil {
			return err
		}
		b.parts[l.Descriptor.Digest] = p
	}
	return nil
}

// LayerOptions are the options of Batch.Layer.
type LayerOptions struct {
	// Unpack has the layer unpacked while it comes. Another process that unpacks it
	// at the time is left to it.
	Unpack bool
	// Tell, if set, is told of the unpacking, by several goroutines.
	Tell func(Event)
}

// Layer has fill write what is missing of a claimed layer's blob, and stages the
// blob and the layer when both are what their digests say. Came is false if another
// process has brought the blob meanwhile. A blob that cannot be gone on with is begun
// anew, once.
func (b *Batch) Layer(ctx context.Context, l LayerDescriptor, o LayerOptions, fill func(context.Context, *Part) error) (came bool, err error) {
	b.mu.Lock()
	part := b.parts[l.Descriptor.Digest]
	delete(b.parts, l.Descriptor.Digest)
	b.mu.Unlock()
	if part == nil {
		return false, fmt.Errorf("layer %s: it was not claimed", l.Descriptor.Digest)
	}
	if b.s.HaveBlob(l.Descriptor) {
		return false, part.discard()
	}
	for anew := false; ; anew = true {
		unpacked, err := b.arrive(ctx, l, part, o, fill)
		// What is there of it may not be a part of the blob.
		spoilt := errors.Is(err, ErrNoResume) || part.Pieced && errors.Is(err, ErrCorrupt)
		switch {
		case err == nil:
			b.stage(l.Descriptor.Digest, part, unpacked)
			return true, nil
		case spoilt && !anew && ctx.Err() == nil:
			if err := part.restart(); err != nil {
				return false, errors.Join(err, part.discard())
			}
		case spoilt || errors.Is(err, ErrCorrupt) || NoRoom(err):
			return false, errors.Join(err, part.discard())
		default:
			return false, errors.Join(err, part.close())
		}
	}
}

func (b *Batch) stage(d digest.Digest, part *Part, unpacked *staged) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs[d] = part.w.f.Name()
	b.whole = append(b.whole, part)
	if unpacked != nil {
		b.layers = append(b.layers, unpacked)
	}
}

// arrive has a part filled, and the layer unpacked meanwhile.
func (b *Batch) arrive(ctx context.Context, l LayerDescriptor, part *Part, o LayerOptions, fill func(context.Context, *Part) error) (*staged, error) {
	d := l.Descriptor
	part.grows = newGrowing(part.w.f, part.w.size)
	part.grows.behind = &Meter{Tell: o.Tell, Action: "unpack", Blob: d}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var unpacked *staged
	if o.Unpack {
		go func() {
			var err error
			unpacked, err = b.unpackArriving(ctx, l, part.grows)
			// Of other failures the blob's digest decides whose fault they are.
			if NoRoom(err) {
				cancel()
			}
			done <- err
		}()
	} else {
		done <- nil
	}
	err := fill(ctx, part)
	if got := part.w.Digest(); err == nil && (got != d.Digest || part.w.size != d.Size) {
		err = &CorruptError{Digest: d.Digest, Why: fmt.Sprintf("got %d bytes with the digest %s", part.w.size, got)}
	}
	part.grows.finish(err)
	unpackErr := <-done
	if err == nil || NoRoom(unpackErr) {
		err = unpackErr // the blob is what was promised, and still of no use
	}
	switch {
	case err != nil && unpacked != nil:
		return nil, errors.Join(err, unpacked.drop())
	case err != nil:
		return nil, err
	case unpacked != nil && o.Tell != nil:
		o.Tell(Event{Action: "unpacked", Digest: d.Digest, Done: d.Size, Total: d.Size})
	}
	return unpacked, nil
}

// unpackArriving unpacks a layer while its blob is being downloaded. It returns nil
// if the layer is there, or another process unpacks it.
func (b *Batch) unpackArriving(ctx context.Context, l LayerDescriptor, r *growing) (*staged, error) {
	if b.s.HaveLayer(l.DiffID) {
		return nil, nil
	}
	lock, err := filelock.Try(b.s.unpackLock(l.DiffID), filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if b.s.HaveLayer(l.DiffID) {
		return nil, lock.Remove()
	}
	out := &staged{diffID: l.DiffID, dir: b.path(), lock: lock}
	return out, b.s.unpackStream(ctx, r, out.dir, l.DiffID)
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
	behind *Meter // of what is read after all of it has come; nil without one

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
		g.behind.At(g.read)
	}
	return n, err
}
