// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry speaks to image registries: which host stands for which,
// how it is reached, and who one is there.
//
// Requests go through, from the inside out: one HTTP transport a host, with the
// certificates that are configured for it; a guard that lets plain HTTP through
// only to this machine and to hosts that are called insecure; a waiter that
// tries again what may succeed later; and go-containerregistry's, which logs
// in. Where a registry sends one on, for a token, a blob or an upload, is held
// against the addresses that it has itself (internal/outbound). Credentials come from a keychain, by default docker's and podman's files
// and helpers, and are never part of an error.
//
// A Client may be used by several goroutines.
package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/internal/outbound"
)

// Options are the options of New.
type Options struct {
	// Hosts says how registries are reached, by host or host:port.
	Hosts map[string]Host
	// Keychain knows who one is; that of NewKeychain if nil.
	Keychain authn.Keychain
	// Certificates are the files of certificates; those that Hosts names, if nil.
	Certificates *Certificates
	// Tell, if set, is told why something takes longer.
	Tell func(string)
	// Pause is the first one before something is tried again; 500 ms if zero.
	Pause time.Duration
	// Stall is how long a registry may neither send nor take anything; two minutes
	// if zero.
	Stall time.Duration
}

// Client reaches registries.
type Client struct {
	o  Options
	mu sync.Mutex // guards transports
	// transports are those without a login, by host.
	transports map[string]http.RoundTripper
}

// New makes a client. Nothing is connected to yet.
func New(o Options) *Client {
	if o.Keychain == nil {
		o.Keychain = NewKeychain(o.Tell)
	}
	if o.Certificates == nil {
		o.Certificates = NewCertificates()
	}
	if o.Pause == 0 {
		o.Pause = 500 * time.Millisecond
	}
	if o.Stall == 0 {
		o.Stall = 2 * time.Minute
	}
	return &Client{o: o, transports: make(map[string]http.RoundTripper)}
}

// dockerHub is what people call the registry that is index.docker.io.
const dockerHub = "docker.io"

// hostName is the name of a registry in configurations.
func hostName(r name.Registry) string {
	if r.RegistryStr() == name.DefaultRegistry {
		return dockerHub
	}
	return r.RegistryStr()
}

func (c *Client) insecure(host string) bool { return c.o.Hosts[host].Insecure }

// Endpoint is a place where an image may be found.
type Endpoint struct {
	Ref name.Reference
	// Mirror: it is not the place that the image is named after.
	Mirror bool
}

// Parse makes a reference of a canonical name.
func (c *Client) Parse(canonical string) (name.Reference, error) {
	ref, err := name.ParseReference(canonical)
	if err != nil {
		return nil, err
	}
	if c.insecure(hostName(ref.Context().Registry)) {
		return name.ParseReference(canonical, name.Insecure)
	}
	return ref, nil
}

// Endpoints returns where to look for an image, mirrors first.
func (c *Client) Endpoints(canonical string) ([]Endpoint, error) {
	ref, err := c.Parse(canonical)
	if err != nil {
		return nil, err
	}
	var out []Endpoint
	path := strings.TrimPrefix(ref.Name(), ref.Context().RegistryStr()+"/")
	for _, mirror := range c.o.Hosts[hostName(ref.Context().Registry)].Mirrors {
		at, err := c.Parse(mirror + "/" + path)
		if err != nil {
			return nil, fmt.Errorf("mirror %s: %w", mirror, err)
		}
		out = append(out, Endpoint{at, true})
	}
	return append(out, Endpoint{Ref: ref}), nil
}

// Options returns what the functions of package remote need.
func (c *Client) Options(ctx context.Context, reg name.Registry) ([]remote.Option, error) {
	t, err := c.transport(reg)
	if err != nil {
		return nil, err
	}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(t), remote.WithAuthFromKeychain(c.o.Keychain),
		remote.WithRetryStatusCodes(), // the waiter does that
		remote.WithRetryBackoff(remote.Backoff{Duration: 2 * c.o.Pause, Factor: 3, Jitter: 0.1, Steps: 3}),
	}, nil
}

// Login returns a transport that is logged in to read from, or else write to,
// a repository, for requests of one's own and for package remote.
func (c *Client) Login(ctx context.Context, repo name.Repository, scope string) (http.RoundTripper, error) {
	t, err := c.transport(repo.Registry)
	if err != nil {
		return nil, err
	}
	auth, err := authn.Resolve(ctx, c.o.Keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", hostName(repo.Registry), err)
	}
	return transport.NewWithContext(ctx, repo.Registry, auth, t, []string{repo.Scope(scope)})
}

// Pause is the first one before something is tried again.
func (c *Client) Pause() time.Duration { return c.o.Pause }

// transport returns the one for a host, without a login.
func (c *Client) transport(reg name.Registry) (http.RoundTripper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	host := hostName(reg)
	if t, ok := c.transports[host]; ok {
		return t, nil
	}
	base, err := c.connection(host)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", host, err)
	}
	t := &late{reg: reg, keychain: c.o.Keychain, next: literals{&waiter{
		next:  decoder{&guard{next: watcher{base, c.o.Stall}, allowed: c.plainHosts()}},
		pause: c.o.Pause, tell: c.o.Tell,
	}}}
	c.transports[host] = t
	return t, nil
}

// plainHosts are the names of those that may be spoken to without TLS, at any
// port: a token server beside a registry has another one.
func (c *Client) plainHosts() map[string]bool {
	m := make(map[string]bool)
	for h, conf := range c.o.Hosts {
		if conf.Insecure {
			m[(&url.URL{Host: h}).Hostname()] = true
		}
	}
	return m
}

// connection is the innermost transport. What is configured for a host counts
// for that host at any port: its token server may be another one there. To
// where else it sends one, for tokens and for blobs, its authorities hold, too,
// but one shows no certificate of one's own there, and verifies theirs.
func (c *Client) connection(host string) (http.RoundTripper, error) {
	strict := plainTransport()
	own, err := c.o.Certificates.of(host, c.o.Hosts[host])
	if err != nil {
		return nil, err
	}
	at := (&url.URL{Host: connectedHost(host)}).Hostname()
	// TLS, or the configuration, says that a host is who it says it is.
	trail := &outbound.Trail{Host: at, Chosen: true, Mixed: true, Rules: configured(c.o.Hosts)}
	if own == nil && !c.insecure(host) {
		return trail.Over(strict), nil
	}
	special := plainTransport()
	special.TLSClientConfig = own
	if own == nil {
		special.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	special.TLSClientConfig.InsecureSkipVerify = c.insecure(host) //nolint:gosec // the configuration says so of this host
	if own != nil {
		strict.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: own.RootCAs}
	}
	return byHost{name: (&url.URL{Host: host}).Hostname(), special: trail.Over(special), other: trail.Over(strict)}, nil
}

// connectedHost is the host that requests for a registry go to.
func connectedHost(host string) string {
	if host == dockerHub {
		return name.DefaultRegistry
	}
	return host
}

// configured are the rules for where registries send one on: what is called by
// its name in the configuration, as a registry or as a mirror, may be anywhere.
type configured map[string]Host

// Refuses implements outbound.Rules.
func (configured) Refuses(string, uint16) string { return "" }

// Denies implements outbound.Rules.
func (configured) Denies(netip.AddrPort) string { return "" }

// Grants implements outbound.Rules.
func (c configured) Grants(host string, to netip.AddrPort, _ address.Block) bool {
	for h, conf := range c {
		if sameHost(h, host, to.Port()) || slices.ContainsFunc(conf.Mirrors, func(m string) bool { return sameHost(m, host, to.Port()) }) {
			return true
		}
	}
	return false
}

// sameHost reports whether "host[:port][/path]" is a host, at this port if it names one.
func sameHost(given, host string, port uint16) bool {
	given, _, _ = strings.Cut(given, "/")
	u := url.URL{Host: given}
	return strings.EqualFold(u.Hostname(), host) && (u.Port() == "" || u.Port() == strconv.Itoa(int(port)))
}

// plainTransport is like http.DefaultTransport, with connections kept for
// parallel downloads. A trail makes them.
func plainTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// A layer is one long stream each: connections of their own, HTTP/1.1, are
		// faster than streams of one HTTP/2 connection.
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 20 * time.Second,
		ReadBufferSize:      256 << 10,
		WriteBufferSize:     256 << 10,
		DisableCompression:  true,
	}
}

// byHost chooses the transport by where a request goes.
type byHost struct {
	name           string
	special, other http.RoundTripper
}

func (b byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == b.name {
		return b.special.RoundTrip(r)
	}
	return b.other.RoundTrip(r)
}
