// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Proxy is a proxy on this machine's loopback for a program that makes its
// connections itself, such as git: they are the trail's, too. Only somebody who
// knows the password in URL can use it.
type Proxy struct {
	// URL is what the program is to use, with user and password.
	URL *url.URL

	trail  *Trail
	secret string
	server *http.Server
	mu     sync.Mutex // guards refused
	// refused is the first error about an address: programs tell theirs badly.
	refused error
}

// NewProxy starts a proxy, which Close ends.
func (t *Trail) NewProxy() (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{trail: t, secret: rand.Text()}
	p.URL = &url.URL{Scheme: "http", User: url.UserPassword("cpc", p.secret), Host: l.Addr().String()}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: dialTime}
	go func() { _ = p.server.Serve(l) }() // until Close
	return p, nil
}

// Close ends the proxy. Tunnels end with the programs that use them.
func (p *Proxy) Close() error { return p.server.Close() }

// Refused returns what was not connected to, if anything.
func (p *Proxy) Refused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

func (p *Proxy) failed(w http.ResponseWriter, err error) {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		p.mu.Lock()
		if p.refused == nil {
			p.refused = r
		}
		p.mu.Unlock()
		http.Error(w, r.Error(), http.StatusForbidden)
		return
	}
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("cpc:"+p.secret))
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Proxy-Authorization")), []byte(want)) != 1 {
		w.Header().Set("Proxy-Authenticate", "Basic")
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		forward := httputil.ReverseProxy{
			Rewrite:      func(pr *httputil.ProxyRequest) { pr.Out.Header.Del("Proxy-Authorization") },
			Transport:    p.trail.Over(&http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}),
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { p.failed(w, err) },
		}
		forward.ServeHTTP(w, r)
	default:
		http.Error(w, "this is a proxy", http.StatusBadRequest)
	}
}

// tunnel passes bytes on in both directions until one side ends.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	up, err := p.trail.dialTunnel(r.Context(), r.Host)
	if err != nil {
		p.failed(w, err)
		return
	}
	defer up.Close()
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.failed(w, err)
		return
	}
	defer down.Close()
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	pass := func(to net.Conn, from io.Reader) {
		_, _ = io.Copy(to, from) // either side may go at any time
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		done <- struct{}{}
	}
	go pass(up, buffered)
	go pass(down, up)
	<-done
	select {
	case <-done:
	case <-time.After(lingering):
	}
}

// lingering is how long one direction may go on when the other one has ended.
const lingering = time.Minute

// dialTunnel connects to "host:port", by the proxy of the environment if there
// is one for it.
func (t *Trail) dialTunnel(ctx context.Context, to string) (net.Conn, error) {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: to}})
	if err != nil {
		return nil, err
	}
	if p == nil || p.Scheme != "http" {
		return t.DialContext(ctx, "tcp", to)
	}
	host, port, err := split(to)
	if err != nil {
		return nil, err
	}
	if err := t.CheckProxied(host, port); err != nil {
		return nil, err
	}
	at := p.Host
	if p.Port() == "" {
		at = net.JoinHostPort(p.Hostname(), "80")
	}
	d := net.Dialer{Timeout: dialTime}
	c, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	up, err := connect(c, p, to)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("proxy %s: %w", p.Redacted(), err)
	}
	return up, nil
}

// connect asks a proxy at the other end of c for a tunnel (RFC 9110, 9.3.6).
func connect(c net.Conn, p *url.URL, to string) (net.Conn, error) {
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{}}
	if p.User != nil {
		password, _ := p.User.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)))
	}
	if err := c.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return nil, err
	}
	if err := ask.Write(c); err != nil {
		return nil, err
	}
	// What follows the answer's head is the other side's already.
	br := bufio.NewReader(c)
	answer, err := http.ReadResponse(br, ask)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answer %q", answer.Status)
	}
	return &ahead{c, br}, c.SetDeadline(time.Time{})
}

// ahead is a connection of which something has been read.
type ahead struct {
	net.Conn
	r *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

// Through connects to "host:port" through a proxy of NewProxy, and passes in and
// out on: it is the other end for programs that speak to a proxy by a command.
func Through(ctx context.Context, proxy, to string, in io.Reader, out io.Writer) error {
	p, err := url.Parse(proxy)
	if err != nil || p.Host == "" {
		return errors.New("no address of a proxy")
	}
	d := net.Dialer{Timeout: dialTime}
	c, err := d.DialContext(ctx, "tcp", p.Host)
	if err != nil {
		return err
	}
	defer c.Close()
	up, err := connect(c, p, to)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(up, in) // the other side decides when this is over
		if half, ok := c.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(out, up)
	return err
}
