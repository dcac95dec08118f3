// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// serveHTTP lets requests through that name the connection's host.
func (g *Gateway) serveHTTP(ctx context.Context, c *conn) {
	br := bufio.NewReaderSize(c.client, 16<<10)
	h, err := g.request(c, br)
	if err != nil {
		switch {
		case isTimeout(err):
			err = refusal("no request in time")
		case isCut(err):
			err = refusal("closed before a request was complete")
		default:
			g.say403(c, err)
		}
		g.sayNo(c, err)
		return
	}
	if !g.open(ctx, c) {
		return
	}
	if h.upgrade {
		g.finish(c, g.upgrade(c, br, h))
		return
	}
	g.finish(c, g.join(c, func() error { return g.requests(c, br, h) }))
}

// lastAnswer is a refusal that the program can be told of, because it has read
// all that came before.
type lastAnswer struct{ refusal }

func (l lastAnswer) Unwrap() error { return l.refusal }

// request reads and checks the next head.
func (g *Gateway) request(c *conn, br *bufio.Reader) (head, error) {
	if err := c.client.SetReadDeadline(time.Now().Add(g.o.Limits.Head)); err != nil {
		return head{}, err
	}
	raw, err := readHead(br)
	if err != nil {
		return head{}, err
	}
	h, err := parseHead(raw)
	if h.host != "" {
		c.said = h.host
	}
	if err != nil {
		return h, err
	}
	if err := h.checkHost(c.host, c.port); err != nil {
		return h, err
	}
	return h, c.client.SetReadDeadline(time.Time{})
}

// requests passes on one request after the other, each checked.
func (g *Gateway) requests(c *conn, br *bufio.Reader, h head) error {
	before, _ := transferred(c.up) // what a proxy said, which the program does not see
	for {
		heard, _ := transferred(c.up)
		if err := c.send(h.out); err != nil {
			return err
		}
		n, err := copyBody(c.up, br, h.length)
		c.sent += uint64(n)
		if err != nil {
			return err
		}
		pipelined := br.Buffered() > 0
		// The connection may rest here; what a head may take, it may take
		// from its first byte.
		if _, err := br.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if h, err = g.request(c, br); err == nil && h.upgrade {
			err = refusal("Upgrade on a connection in use")
		}
		if r, ok := errors.AsType[refusal](err); ok && !pipelined && c.answered(before, heard) {
			return lastAnswer{r}
		}
		if err != nil {
			return err
		}
	}
}

// answered reports whether the host has said something since it had said heard
// bytes, and the program has all of it. Who sends a request only then takes the
// answer before for complete, so that another one can follow. (Who does not
// wait is reset: an answer in the midst of another would be read as part of it.)
func (c *conn) answered(before, heard uint64) bool {
	said, _ := transferred(c.up)
	_, has := transferred(c.client)
	return said > heard && has >= said-before
}

// upgrade passes on a request for WebSocket. If the server agrees, both sides
// are joined; if not, its answer is the last thing.
func (g *Gateway) upgrade(c *conn, br *bufio.Reader, h head) error {
	if err := c.send(h.out); err != nil {
		return err
	}
	_ = c.up.SetReadDeadline(time.Now().Add(g.o.Limits.Connect))
	server := bufio.NewReaderSize(c.up, 16<<10)
	answer, err := readHead(server)
	if err != nil {
		return err
	}
	if err := c.up.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	n, err := c.client.Write(answer)
	c.received += uint64(n)
	if err != nil {
		return err
	}
	early, err := server.Peek(server.Buffered())
	if err != nil {
		return err
	}
	if n, err = c.client.Write(early); err != nil {
		return err
	}
	c.received += uint64(n)
	if status, ok := strings.CutPrefix(string(answer), "HTTP/1.1 101 "); !ok || status == "" {
		return g.join(c, func() error { // nothing more is read of the program
			_, err := io.Copy(io.Discard, c.client)
			return err
		})
	}
	said, err := br.Peek(br.Buffered())
	if err != nil {
		return err
	}
	if err := c.send(said); err != nil {
		return err
	}
	return g.splice(c)
}

// say403 tells the program, which may show it to somebody.
func (g *Gateway) say403(c *conn, why error) {
	text := fmt.Sprintf("cpc: %s:%d: %s\n", c.host, c.port, why)
	if c.client.SetWriteDeadline(time.Now().Add(g.o.Limits.Head)) != nil {
		return
	}
	_, _ = fmt.Fprintf(c.client, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
}
