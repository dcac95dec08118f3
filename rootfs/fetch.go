// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// halfBlob is a blob that is being downloaded, or was when the download broke
// off. It has a name of its own, so that it can be taken up again.
type halfBlob struct {
	lock *filelock.Lock
	blob *blobWriter
	// pieced: it is of more than one request, which may be why it comes to nothing.
	// Then it is begun anew, once.
	pieced, anew bool
}

func (s *Store) partialPath(d digest.Digest) string { return s.path("partial", d.Encoded()) }

// openPartial waits until nobody else downloads the blob, and computes the
// digest of what there is of it.
func (s *Store) openPartial(ctx context.Context, d v1.Descriptor) (_ *halfBlob, err error) {
	if err := os.MkdirAll(s.path("partial"), 0o700); err != nil {
		return nil, err
	}
	lock, err := filelock.Acquire(ctx, s.path("locks", "partial-"+d.Digest.Encoded()), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	f, err := ownfile.OpenFile(s.partialPath(d.Digest), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Join(err, lock.Remove())
	}
	p := &halfBlob{lock: lock, blob: &blobWriter{f: f, hash: digest.SHA256.Hash()}}
	if p.blob.size, err = io.CopyBuffer(struct{ io.Writer }{p.blob.hash}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err == nil && p.blob.size > d.Size {
		err = p.restart()
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// openPartials opens the parts of all layers before any is downloaded, in the
// order of their digests: they are kept until the last has come, and two pulls
// that had one each would wait for each other for ever.
func (s *Store) openPartials(ctx context.Context, layers []LayerDescriptor) (map[digest.Digest]*halfBlob, error) {
	sorted := slices.SortedFunc(slices.Values(layers), func(a, b LayerDescriptor) int {
		return strings.Compare(a.Descriptor.Digest.String(), b.Descriptor.Digest.String())
	})
	open := make(map[digest.Digest]*halfBlob, len(sorted))
	for _, l := range sorted {
		part, err := s.openPartial(ctx, l.Descriptor)
		if err != nil {
			errs := []error{err}
			for _, p := range open {
				errs = append(errs, p.close())
			}
			return nil, errors.Join(errs...)
		}
		open[l.Descriptor.Digest] = part
	}
	return open, nil
}

// restart drops what there is.
func (p *halfBlob) restart() error {
	p.blob.hash.Reset()
	p.blob.size = 0
	if _, err := p.blob.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.blob.f.Truncate(0)
}

// close keeps the file for another time.
func (p *halfBlob) close() error { return errors.Join(p.blob.f.Close(), p.lock.Remove()) }

// discard removes the file: it is of no use, or there is no room for it.
func (p *halfBlob) discard() error {
	return errors.Join(os.Remove(p.blob.f.Name()), p.close())
}

// fetch downloads a layer, unless another process has done so meanwhile. It owns
// the part. What it returns is to be settled; nil if there is nothing to do.
func (p *puller) fetch(ctx context.Context, l LayerDescriptor, part *halfBlob) (_ *arrival, err error) {
	d := l.Descriptor
	if p.s.haveBlob(d) { // another process has brought it meanwhile
		p.tell(Event{Action: "exists", Digest: d.Digest, Done: d.Size, Total: d.Size})
		return nil, part.discard()
	}
	a, outer := &arrival{l: l, part: part}, ctx
	grows := newGrowing(part.blob.f, part.blob.size)
	grows.behind = &meter{tell: p.tell, action: "unpack", desc: d}
	unpacked := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.o.Unpack {
		go func() {
			err := p.s.unpackArriving(ctx, a, grows)
			// Of other failures the blob's digest decides whose fault they are.
			if noRoom(err) {
				cancel()
			}
			unpacked <- err
		}()
	} else {
		unpacked <- nil
	}
	err = p.download(ctx, d, part, grows)
	grows.finish(err)
	unpackErr := <-unpacked
	switch {
	case err == nil && unpackErr == nil:
		if p.o.Unpack && a.work != nil {
			p.tell(Event{Action: "unpacked", Digest: d.Digest, Done: d.Size, Total: d.Size})
		}
		return a, nil
	case err == nil, noRoom(unpackErr):
		err = unpackErr // the blob is what was promised, and still of no use
	}
	// What is there of it may not be a part of the blob, or the registry cannot go
	// on from there.
	spoilt := errors.Is(err, errNoResume) || part.pieced && errors.Is(err, ErrCorrupt)
	if spoilt && !part.anew && outer.Err() == nil {
		part.anew = true
		err := a.drop()
		if err == nil {
			err = part.restart()
		}
		if err != nil {
			return nil, errors.Join(err, part.discard())
		}
		return p.fetch(outer, l, part)
	}
	if spoilt || ownFault(err) {
		return nil, errors.Join(err, part.discard(), a.drop())
	}
	return nil, errors.Join(err, part.close(), a.drop())
}

// errNoResume is the answer to a request for the rest of a blob that cannot be given.
var errNoResume = errors.New("the registry cannot go on where the download ended")

// download gets what is missing of a blob, and goes on where it was when the
// connection breaks.
func (p *puller) download(ctx context.Context, d v1.Descriptor, part *halfBlob, grows *growing) error {
	const attempts = 5
	m := &meter{tell: p.tell, action: "download", desc: d, n: part.blob.size}
	if part.blob.size > 0 && part.blob.size < d.Size {
		p.tell(Event{Action: "resume", Digest: d.Digest, Done: part.blob.size, Total: d.Size})
	}
	for failed := 0; part.blob.size < d.Size; {
		before := part.blob.size
		err := p.stream(ctx, d, part, func(n int) {
			grows.grow(n)
			m.add(n)
		})
		if err == nil {
			break
		}
		if part.blob.size > before {
			failed = 0
		}
		_, stalled := errors.AsType[*registry.StallError](err)
		if failed++; failed == attempts || ctx.Err() != nil || !brokenOff(err) || stalled && failed > 1 {
			return fmt.Errorf("after %d of %d bytes: %w", part.blob.size, d.Size, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(failed*failed) * p.client.Pause()):
		}
		p.tell(Event{Action: "resume", Digest: d.Digest, Done: part.blob.size, Total: d.Size})
	}
	if got := part.blob.digest(); got != d.Digest || part.blob.size != d.Size {
		return &CorruptError{Digest: d.Digest, Why: fmt.Sprintf("got %d bytes with the digest %s", part.blob.size, got)}
	}
	return nil
}

// brokenOff tells a connection that ended from an answer that is final.
func brokenOff(err error) bool {
	var answer *transport.Error
	return !errors.Is(err, ErrCorrupt) && !errors.Is(err, errNoResume) && !errors.As(err, &answer) && !noRoom(err)
}

func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// stream makes one request for the rest of a blob.
func (p *puller) stream(ctx context.Context, d v1.Descriptor, part *halfBlob, came func(int)) (err error) {
	from := part.blob.size
	u := url.URL{
		Scheme: p.from.repo.Scheme(), Host: p.from.repo.RegistryStr(),
		Path: "/v2/" + p.from.repo.RepositoryStr() + "/blobs/" + d.Digest.String(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if from > 0 {
		part.pieced = true
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
	}
	resp, err := (&http.Client{Transport: p.from.http}).Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if from > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return errNoResume
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	body := io.Reader(resp.Body)
	if resp.StatusCode == http.StatusOK && from > 0 {
		// It does not do ranges: pass over what we have.
		if _, err := io.CopyN(io.Discard, body, from); err != nil {
			return err
		}
	}
	if r := resp.Header.Get("Content-Range"); resp.StatusCode == http.StatusPartialContent && !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", from)) {
		return &CorruptError{Digest: d.Digest, Why: fmt.Sprintf("asked for bytes from %d, the registry sends %.60q", from, r)}
	}
	// One byte more than there should be shows that there are too many.
	return copyTo(part.blob, io.LimitReader(body, d.Size-from+1), d.Size, came)
}

func copyTo(to *blobWriter, r io.Reader, size int64, came func(int)) error {
	buf := make([]byte, 512<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
			came(n)
		}
		if errors.Is(err, io.EOF) {
			if to.size < size {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}
