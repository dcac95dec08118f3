// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/internal/visible"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/inode"
)

const (
	// maxDownload bounds what ADD fetches.
	maxDownload = 16 << 30
	// maxRedirects is how often an answer may send ADD on.
	maxRedirects = 10
	// noName is what BuildKit calls a file whose URL names none.
	noName = "__unnamed__"
)

// Fetcher gets what a URL names, from where it likes. Its errors are shown.
type Fetcher interface {
	Do(*http.Request) (*http.Response, error)
}

// newFetcher connects directly, or by the proxies of the environment, to where
// the trail of an address leads: what a server sends one on to is its idea, and
// no Dockerfile that nobody vetted may put a service of this machine, or of its
// network, into an image.
func newFetcher(t *outbound.Trail) *http.Client {
	return &http.Client{
		Transport: t.Over(&http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: 2 * time.Minute,
		}),
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("redirected from https to " + r.URL.Scheme)
			}
			return nil
		},
	}
}

// do makes a request by fetch or, if that is nil, to where the trail leads.
// Close of the answer's body ends the connections.
func do(fetch Fetcher, t *outbound.Trail, r *http.Request) (*http.Response, error) {
	if fetch != nil {
		return fetch.Do(r)
	}
	client := newFetcher(t)
	resp, err := client.Do(r)
	if err != nil {
		client.CloseIdleConnections()
		return nil, refusedHint(err)
	}
	resp.Body = &lastBody{resp.Body, client}
	return resp, nil
}

type lastBody struct {
	io.ReadCloser
	client *http.Client
}

func (b *lastBody) Close() error {
	err := b.ReadCloser.Close()
	b.client.CloseIdleConnections()
	return err
}

// trail is what follows from a host that the Dockerfile names.
func (b *builder) trail(host string) *outbound.Trail {
	return &outbound.Trail{Host: host, Rules: b.Egress, Chosen: b.AllowHostNetwork}
}

// refusedHint says how to reach an address that was refused.
func refusedHint(err error) error {
	refused, ok := errors.AsType[*outbound.RefusedError](err)
	if !ok || !refused.To.IsValid() || !refused.Granted {
		return err
	}
	return hint.With(refused, fmt.Sprintf("to allow it, use --egress %s (add --egress @default to keep the default policy for RUN steps)", refused.To))
}

// download fetches a URL into a scratch directory and returns it as a source:
// root's, mode 0600, with the time that the server says. Where the server says
// that nothing has changed since an earlier build, the file is not there, only
// what is known of it.
func (x *step) download(ctx context.Context, address string, c *dockerfile.Copy) (source, error) {
	checksum := c.Checksum
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return source{}, fmt.Errorf("%s: no URL", visible.Bounded(address, 200))
	}
	var want digest.Digest
	if checksum != "" {
		if want, err = digest.Parse(checksum); err != nil {
			return source{}, hint.With(fmt.Errorf("--checksum=%s: %w", visible.Bounded(checksum, 100), err), "write --checksum=sha256:<64 hex digits>")
		}
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" || name == ".." || strings.ContainsRune(name, 0) {
		name = noName
	}
	dir, err := x.scratch()
	if err != nil {
		return source{}, err
	}
	got, err := x.get(ctx, &download{url: u, file: filepath.Join(dir, "file"), want: want, whole: x.whole || c.Unpacks(true)})
	if err != nil {
		return source{}, fmt.Errorf("fetch %s: %w", visible.Bounded(u.Redacted(), 200), err)
	}
	t, err := files.Open(dir, "the download of "+visible.Bounded(u.Redacted(), 200))
	if err != nil {
		return source{}, err
	}
	x.undo = append(x.undo, t.Close)
	e := files.Entry{Path: "file", Sum: got.Sum, Inode: inode.Inode{Mode: unix.S_IFREG | 0o600, Time: got.Time}}
	return source{tree: t, base: name, entries: []files.Entry{e}}, nil
}

// download is one URL to fetch into a file.
type download struct {
	url  *url.URL
	file string
	// want is the digest that the content must have, if any.
	want digest.Digest
	// whole: the file itself is needed, not only what is known of it.
	whole bool
}

// get writes the answer to the file, unless it is what is known already.
func (x *step) get(ctx context.Context, d *download) (got fetched, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return got, err
	}
	r.Header.Set("User-Agent", "cpc-build")
	if err := x.authorize(r); err != nil {
		return got, err
	}
	key := fetchedKey(r)
	known, ok := x.stage.fetchedBefore(key)
	if ok && d.whole || d.want != "" && known.Sum != d.want {
		known, ok = fetched{}, false
	}
	if ok && d.want != "" { // whatever the server has now
		x.unread = true
		return known, nil
	}
	known.ask(r)
	resp, err := do(x.stage.b.Fetch, x.stage.b.trail(d.url.Hostname()), r)
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // which does not name the URL again, with its password
	}
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	if ok && resp.StatusCode == http.StatusNotModified {
		x.unread = true
		return known, nil
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return got, fmt.Errorf("invalid response status %d", resp.StatusCode)
	}
	got = fetchedOf(resp)
	if got.Sum, err = save(resp.Body, d.file, d.want); err != nil {
		return got, err
	}
	return got, x.stage.rememberFetched(key, got)
}

// save writes in to file, checks its digest and returns its SHA-256.
func save(in io.Reader, file string, want digest.Digest) (digest.Digest, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	sum, asked := digest.SHA256.Digester(), digest.SHA256.Digester()
	if want != "" {
		asked = want.Algorithm().Digester()
	}
	n, err := io.Copy(io.MultiWriter(f, sum.Hash(), asked.Hash()), io.LimitReader(in, maxDownload+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if n > maxDownload {
		return "", fmt.Errorf("larger than %d bytes", int64(maxDownload))
	}
	if want != "" && asked.Digest() != want {
		return "", fmt.Errorf("digest mismatch %s: %s", asked.Digest(), want)
	}
	return sum.Digest(), nil
}

// authorize adds the credentials that are given as secrets for the host.
func (x *step) authorize(r *http.Request) error {
	for prefix, scheme := range map[string]string{"HTTP_AUTH_HEADER_": "", "HTTP_AUTH_TOKEN_": "Bearer "} {
		get, ok := x.stage.b.Secrets[prefix+r.URL.Hostname()]
		if !ok {
			continue
		}
		value, err := get()
		if err != nil {
			return fmt.Errorf("secret %s%s: %w", prefix, r.URL.Hostname(), err)
		}
		r.Header.Set("Authorization", scheme+strings.TrimSpace(string(value)))
	}
	return nil
}
