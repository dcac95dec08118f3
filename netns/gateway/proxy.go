// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

// maxProxyHead bounds a proxy's answer.
const maxProxyHead = 16 << 10

// dialProxy asks an HTTP proxy of the host's for a tunnel (RFC 9110, 9.3.6).
// The proxy resolves the name, so its addresses are not ours to refuse.
func dialProxy(ctx context.Context, p *url.URL, h policy.Host, port uint16) (*net.TCPConn, error) {
	if p.Scheme != "http" || p.Hostname() == "" {
		return nil, fmt.Errorf("proxy %s: only http:// proxies can be used", p.Redacted())
	}
	at := p.Host
	if p.Port() == "" {
		at = net.JoinHostPort(p.Hostname(), "80")
	}
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", p.Redacted(), err)
	}
	if err := connect(ctx, c, p, net.JoinHostPort(h.String(), fmt.Sprint(port))); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("proxy %s: %w", p.Redacted(), err)
	}
	return c.(*net.TCPConn), nil
}

func connect(ctx context.Context, c net.Conn, p *url.URL, to string) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	var auth string
	if p.User != nil {
		password, _ := p.User.Password()
		auth = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", to, to, auth); err != nil {
		return err
	}
	// One byte at a time, as what follows the head is the tunnel's.
	var head []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, one...) {
		if len(head) >= maxProxyHead {
			return errors.New("answer too long")
		}
		if _, err := c.Read(one); err != nil {
			return err
		}
	}
	line, _, _ := strings.Cut(string(head), "\r\n")
	if f := strings.Fields(line); len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || len(f[1]) != 3 || f[1][0] != '2' {
		return fmt.Errorf("answer %q", clip(line))
	}
	return c.SetDeadline(time.Time{})
}
