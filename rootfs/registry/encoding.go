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
// what is sent, without. Who reads an answer bounds it.
type decoder struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (d decoder) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err != nil || r.Method == http.MethodHead || resp.StatusCode == http.StatusPartialContent {
		return resp, err
	}
	encoding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	layers := strings.Contains(r.URL.Path, "/blobs/")
	switch {
	case encoding == "" || encoding == "identity":
		return resp, nil
	case encoding == "gzip" || encoding == "x-gzip":
		resp.Body, err = decoded(resp.Body, layers)
	case layers: // its digest says whether it is what it should be
	default:
		err = fmt.Errorf("%s sends its answer encoded as %q, which was not asked for", r.URL.Host, visible.Line(encoding))
	}
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	resp.Header.Del("Content-Encoding")
	resp.Header.Del("Content-Length")
	resp.ContentLength = -1
	return resp, nil
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
