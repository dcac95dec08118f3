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
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// download gets what is missing of a blob, which the batch verifies, and goes on where it was when the
// connection breaks.
func (p *puller) download(ctx context.Context, d v1.Descriptor, part *store.Part) error {
	const attempts = 5
	m := &store.Meter{Tell: p.tell, Action: "download", Blob: d, N: part.Size()}
	if part.Size() > 0 && part.Size() < d.Size {
		p.tell(Event{Action: "resume", Digest: d.Digest, Done: part.Size(), Total: d.Size})
	}
	for failed := 0; part.Size() < d.Size; {
		before := part.Size()
		err := p.stream(ctx, d, part, m.Add)
		if err == nil {
			break
		}
		if part.Size() > before {
			failed = 0
		}
		_, stalled := errors.AsType[*registry.StallError](err)
		if failed++; failed == attempts || ctx.Err() != nil || !brokenOff(err) || stalled && failed > 1 {
			return fmt.Errorf("after %d of %d bytes: %w", part.Size(), d.Size, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(failed*failed) * p.client.Pause()):
		}
		p.tell(Event{Action: "resume", Digest: d.Digest, Done: part.Size(), Total: d.Size})
	}
	return nil
}

// brokenOff tells a connection that ended from an answer that is final.
func brokenOff(err error) bool {
	var answer *transport.Error
	return !errors.Is(err, ErrCorrupt) && !errors.Is(err, store.ErrNoResume) && !errors.As(err, &answer) && !store.NoRoom(err)
}

// stream makes one request for the rest of a blob.
func (p *puller) stream(ctx context.Context, d v1.Descriptor, part *store.Part, came func(int)) (err error) {
	from := part.Size()
	u := url.URL{
		Scheme: p.from.repo.Scheme(), Host: p.from.repo.RegistryStr(),
		Path: "/v2/" + p.from.repo.RepositoryStr() + "/blobs/" + d.Digest.String(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if from > 0 {
		part.Pieced = true
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
	}
	resp, err := (&http.Client{Transport: p.from.http}).Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if from > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return store.ErrNoResume
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
	return copyTo(part, io.LimitReader(body, d.Size-from+1), d.Size, came)
}

func copyTo(to *store.Part, r io.Reader, size int64, came func(int)) error {
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
			if to.Size() < size {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}
