// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// realmSuffix makes a name of an address. There is no such domain.
const realmSuffix = ".realm"

// realms lets a registry at a private address have its token server at another
// one. go-containerregistry refuses such realms from everybody, since a
// registry somewhere must not have one ask the machines of one's own network;
// but one that is there itself may. They are given a name for as long as that
// package has them, and their address back before the request is made.
type realms struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t realms) RoundTrip(r *http.Request) (*http.Response, error) {
	if ip, ok := strings.CutSuffix(r.URL.Hostname(), realmSuffix); ok {
		r = r.Clone(r.Context())
		r.URL.Host = strings.Replace(r.URL.Host, ip+realmSuffix, ip, 1)
		r.Host = r.URL.Host
	}
	resp, err := t.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		all := resp.Header.Values("Www-Authenticate")
		for i, challenge := range all {
			all[i] = nameRealm(challenge, r.URL.Hostname())
		}
	}
	return resp, err
}

// nameRealm puts a name in the place of the address of a challenge's realm, if
// the registry that asks may send one there.
func nameRealm(challenge, registry string) string {
	before, rest, ok := strings.Cut(challenge, `realm="`)
	realm, after, closed := strings.Cut(rest, `"`)
	u, err := url.Parse(realm)
	if !ok || !closed || err != nil {
		return challenge
	}
	to, err := netip.ParseAddr(u.Hostname())
	if err != nil || !to.Is4() || !mayName(registry, to) {
		return challenge
	}
	u.Host = strings.Replace(u.Host, to.String(), to.String()+realmSuffix, 1)
	return before + `realm="` + u.String() + `"` + after
}

// mayName: what is on this machine may name this machine and its network, what
// is in a private network addresses of those.
func mayName(registry string, to netip.Addr) bool {
	if loopback(registry) {
		return to.IsLoopback() || to.IsPrivate()
	}
	from, err := netip.ParseAddr(registry)
	return err == nil && from.IsPrivate() && to.IsPrivate()
}
