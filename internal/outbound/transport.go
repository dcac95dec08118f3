// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/http"
	"strconv"
)

// Over returns base with the trail's connections. Requests that base has a proxy
// for go there, and what they ask it for is checked.
func (t *Trail) Over(base *http.Transport) http.RoundTripper {
	direct := base.Clone()
	direct.Proxy, direct.DialContext = nil, t.DialContext
	return &over{trail: t, proxied: base, direct: direct}
}

type over struct {
	trail           *Trail
	proxied, direct *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (o *over) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.proxied.Proxy == nil {
		return o.direct.RoundTrip(r)
	}
	p, err := o.proxied.Proxy(r)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return o.direct.RoundTrip(r)
	}
	if err := o.trail.CheckProxied(r.URL.Hostname(), portOf(r)); err != nil {
		return nil, err
	}
	return o.proxied.RoundTrip(r)
}

// CloseIdleConnections lets http.Client close those that are kept.
func (o *over) CloseIdleConnections() {
	o.proxied.CloseIdleConnections()
	o.direct.CloseIdleConnections()
}

func portOf(r *http.Request) uint16 {
	if n, err := strconv.ParseUint(r.URL.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	if r.URL.Scheme == "http" {
		return 80
	}
	return 443
}
