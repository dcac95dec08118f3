// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// late logs in to a registry that lets everybody ask /v2/, and wants a token when
// asked for an image. go-containerregistry decides by /v2/ alone, and takes a later
// 401 for the answer.
type late struct {
	next     http.RoundTripper
	reg      name.Registry
	keychain authn.Keychain
	open     atomic.Bool // /v2/ was answered without a login
	logins   sync.Map    // http.RoundTripper by repository
}

// RoundTrip implements http.RoundTripper.
func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != l.reg.RegistryStr() || strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		return l.next.RoundTrip(r)
	}
	repo := repositoryOf(r.URL.Path)
	if in, ok := l.logins.Load(repo); ok {
		return in.(http.RoundTripper).RoundTrip(unnamed(r)) //nolint:forcetypeassert // nothing else is stored
	}
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	if r.URL.Path == apiRoot && resp.StatusCode == http.StatusOK && r.Header.Get("Authorization") == "" {
		l.open.Store(true)
	}
	if repo == "" || !l.open.Load() || !wantsToken(resp) || !rewind(r) {
		return resp, nil
	}
	_ = resp.Body.Close()
	in, err := l.logIn(r, repo, resp.Header)
	if err != nil {
		return nil, err
	}
	return in.RoundTrip(unnamed(r))
}

// logIn gets a token as if /v2/ had asked for one.
func (l *late) logIn(r *http.Request, path string, challenge http.Header) (http.RoundTripper, error) {
	repo := l.reg.Repo(path)
	auth, err := authn.Resolve(r.Context(), l.keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", hostName(l.reg), err)
	}
	scope := transport.PushScope
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		scope = transport.PullScope
	}
	asks := asking{next: l.next, scheme: r.URL.Scheme, challenge: challenge}
	in, err := transport.NewWithContext(r.Context(), l.reg, auth, asks, []string{repo.Scope(scope)})
	if err == nil {
		l.logins.Store(path, in)
	}
	return in, err
}

// asking answers for /v2/ as the registry did for an image.
type asking struct {
	next      http.RoundTripper
	scheme    string // how the registry is reached
	challenge http.Header
}

// RoundTrip implements http.RoundTripper.
func (a asking) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Path != apiRoot:
		return a.next.RoundTrip(r)
	case r.URL.Scheme != a.scheme:
		return nil, fmt.Errorf("%s speaks %s", r.URL.Host, a.scheme)
	}
	return &http.Response{
		Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized, Header: a.challenge, Body: http.NoBody, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// apiRoot is what a registry is asked first.
const apiRoot = "/v2/"

// repositoryOf is the repository that a request is for, "" if there is none.
func repositoryOf(path string) string {
	rest, ok := strings.CutPrefix(path, apiRoot)
	if !ok {
		return ""
	}
	for _, what := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if at := strings.LastIndex(rest, what); at > 0 {
			return rest[:at]
		}
	}
	return ""
}

// wantsToken reports whether a registry asks for a token of RFC 6750.
func wantsToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	for _, challenge := range resp.Header.Values("Www-Authenticate") {
		if scheme, _, _ := strings.Cut(challenge, " "); strings.EqualFold(scheme, "bearer") {
			return true
		}
	}
	return false
}

// unnamed is a request without credentials: whoever sends it adds its own.
func unnamed(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	return r
}
