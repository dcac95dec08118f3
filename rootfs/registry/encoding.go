// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// decoder reads documents that come compressed for the way. cpc does not ask for
// that, but some proxies and static servers do it all the same. Digests are of
// what is sent, without. It bounds all that is no blob, which those who read it
// know the size of.
type decoder struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (d decoder) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err != nil || r.Method == http.MethodHead {
		return resp, err
	}
	blob := ofBlob(r)
	if resp.StatusCode != http.StatusPartialContent {
		if err := decode(resp, blob); err != nil {
			return nil, errors.Join(fmt.Errorf("%s sends %w", r.URL.Host, err), resp.Body.Close())
		}
	}
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		// What is longer is no explanation, and go-containerregistry forgets the status over it.
		resp.Body, resp.ContentLength = reader{io.LimitReader(resp.Body, maxExplanation), resp.Body}, -1
	case !blob:
		resp.Body = reader{&bounded{resp.Body, r.URL.Host, maxAnswer}, resp.Body}
	}
	return resp, nil
}

// ofBlob reports whether a request is for a blob, also where it was sent on.
func ofBlob(r *http.Request) bool {
	for n := 0; r.Response != nil && r.Response.Request != nil && n <= maxRedirects; n++ {
		r = r.Response.Request
	}
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}

// decode takes off what an answer was encoded with for the way.
func decode(resp *http.Response, blob bool) (err error) {
	encoding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	switch {
	case encoding == "" || encoding == "identity":
		return nil
	case encoding == "gzip" || encoding == "x-gzip":
		resp.Body, err = decoded(resp.Body, blob)
	case blob: // its digest says whether it is what it should be
	default:
		err = fmt.Errorf("an answer encoded as %q, which was not asked for", visible.Line(encoding))
	}
	resp.Header.Del("Content-Encoding")
	resp.Header.Del("Content-Length")
	resp.ContentLength = -1
	return err
}

// maxAnswer bounds an answer that is no blob, in bytes.
const maxAnswer = 16 << 20

// maxExplanation is how much is read of what a registry says of an error, in bytes.
const maxExplanation = 32 << 10

// bounded fails where there is more than there may be.
type bounded struct {
	from io.Reader
	host string
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s sends more than %d MiB where it should send a document", b.host, maxAnswer>>20)
	}
	return n, err
}

// decoded is the body without gzip. Of blobs only a JSON document is taken to be
// compressed for the way, and not a layer that a server calls so because it is
// of gzip itself.
func decoded(body io.ReadCloser, blob bool) (io.ReadCloser, error) {
	start := bufio.NewReaderSize(body, 4096)
	if !blob {
		zr, err := gzip.NewReader(start)
		if err != nil {
			return body, fmt.Errorf("an answer that is not of gzip, as it says: %w", err)
		}
		return reader{zr, body}, nil
	}
	head, _ := start.Peek(4096) // less than that is all there is, or the error comes when it is read
	if zr, err := gzip.NewReader(strings.NewReader(string(head))); err == nil {
		first := make([]byte, 1)
		if n, _ := zr.Read(first); n == 1 && first[0] == '{' { // it may be cut off
			whole, err := gzip.NewReader(start)
			if err != nil {
				return body, err
			}
			return reader{whole, body}, nil
		}
	}
	return reader{start, body}, nil
}

// reader reads from one and closes the other.
type reader struct {
	io.Reader
	io.Closer
}
