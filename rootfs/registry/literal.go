// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// addressSuffix makes a name of an address. There is no such domain.
const addressSuffix = ".address"

// maxRedirects is how often a registry may send a request on. It is less than what
// net/http allows, whose error does not say who did that.
const maxRedirects = 8

// literals lets a registry at a private address have its token server and its
// storage at another one. go-containerregistry refuses such addresses from
// everybody, also from a registry that is in that network itself. They are given
// a name for as long as that package has them, and their address back before the
// request is made, where a trail decides by the addresses that the registry
// really has. It bounds redirects, too, which that package does not.
type literals struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t literals) RoundTrip(r *http.Request) (*http.Response, error) {
	if n := redirects(r); n > maxRedirects {
		return nil, plainly(r, fmt.Errorf("%s sends the request on again and again: stopped after %d redirects", r.Response.Request.URL.Host, maxRedirects))
	}
	if a, ok := addressOf(r.URL.Hostname()); ok {
		host := a.String()
		if a.Is6() {
			host = "[" + host + "]"
		}
		if port := r.URL.Port(); port != "" {
			host += ":" + port
		}
		r = r.Clone(r.Context())
		r.URL.Host, r.Host = host, host
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return resp, plainly(r, err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		all := resp.Header.Values("Www-Authenticate")
		for i, challenge := range all {
			all[i] = nameRealm(challenge)
		}
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		if to, err := url.Parse(resp.Header.Get("Location")); err == nil && to.Hostname() != r.URL.Hostname() {
			resp.Header.Set("Location", nameAddress(resp.Header.Get("Location")))
		}
	}
	return resp, nil
}

// redirects is how many answers have sent this request on.
func redirects(r *http.Request) int {
	n := 0
	for ; r.Response != nil && r.Response.Request != nil && n <= maxRedirects; n++ {
		r = r.Response.Request
	}
	return n
}

// nameRealm puts a name in the place of the address of a challenge's realm.
func nameRealm(challenge string) string {
	before, rest, ok := strings.Cut(challenge, `realm="`)
	realm, after, closed := strings.Cut(rest, `"`)
	if !ok || !closed {
		return challenge
	}
	return before + `realm="` + nameAddress(realm) + `"` + after
}

// nameAddress puts a name in the place of the address of a URL's host.
func nameAddress(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	to, err := netip.ParseAddr(u.Hostname())
	if err != nil || to.Zone() != "" {
		return text
	}
	host := strings.ReplaceAll(to.String(), ":", "-") + addressSuffix
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	u.Host = host
	return u.String()
}

// WithoutTLSError is the error of a request without TLS. A registry on this machine
// is asked with TLS as well, and of one that has none this is the error that counts.
type WithoutTLSError struct{ error }

func (e *WithoutTLSError) Unwrap() error { return e.error }

func plainly(r *http.Request, err error) error {
	if r.URL.Scheme == "https" {
		return err
	}
	return &WithoutTLSError{err}
}

// Addresses puts the addresses back that a text about a request has names for.
func Addresses(text string) string {
	return regexp.MustCompile(`[0-9a-f.-]+\`+addressSuffix+`\b`).ReplaceAllStringFunc(text, func(host string) string {
		if a, ok := addressOf(host); ok {
			return a.String()
		}
		return host
	})
}

// addressOf is the address behind a name of nameAddress.
func addressOf(host string) (netip.Addr, bool) {
	text, ok := strings.CutSuffix(host, addressSuffix)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(text, "-", ":"))
	return a, err == nil
}
