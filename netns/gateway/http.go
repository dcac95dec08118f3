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
	in := &input{c: c}
	br := bufio.NewReaderSize(in, bufferSize)
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
	x := &exchange{g: g, c: c, in: in, br: br}
	for err = nil; ; {
		if h.upgrade {
			err = x.upgrade(h)
		} else {
			err = g.join(c, func() error { return x.requests(&h) })
		}
		next, ok := errors.AsType[anew](err)
		if !ok {
			break
		}
		h = next.head
		up, t, err := g.dial(ctx, c)
		if err == nil {
			if cut := g.keep(c, up, t); cut != "" {
				err = refusal(cut)
			}
		}
		if err != nil {
			reset(c.client)
			g.finish(c, err)
			return
		}
	}
	g.finish(c, err)
}

// exchange is what goes over one connection of a program: requests, one after
// the other.
type exchange struct {
	g  *Gateway
	c  *conn
	in *input
	br *bufio.Reader // of in
}

// anew is a request for which a connection to the host is made anew: one for
// WebSocket on a connection in use. On a new one the first answer belongs to it
// beyond doubt, and what follows a 101 is no HTTP.
type anew struct{ head head }

func (anew) Error() string { return "Upgrade on a connection in use" }

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
	if err := h.checkHost(c.host, c.port, g.o.Search); err != nil {
		return h, err
	}
	return h, c.client.SetReadDeadline(time.Time{})
}

// requests passes on one request after the other, each checked. The first has
// gone out already if h is nil.
func (x *exchange) requests(h *head) (err error) {
	c, br := x.c, x.br
	out := bufio.NewWriterSize(output{c}, bufferSize)
	x.in.flush = out.Flush
	defer func() {
		x.in.flush = nil
		if last := out.Flush(); err == nil {
			err = last
		}
	}()
	before, heard := uint64(0), uint64(0)
	if h != nil {
		before, _ = transferred(c.up) // what a proxy said, which the program does not see
	}
	for {
		if h != nil {
			heard, _ = transferred(c.up)
			if _, err := out.Write(h.out); err != nil {
				return err
			}
			if err := copyBody(out, br, h.length); err != nil {
				return err
			}
		}
		pipelined := br.Buffered() > 0
		// The connection may rest here; what a head may take, it may take
		// from its first byte.
		if _, err := br.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		next, err := x.g.request(c, br)
		if isCut(err) {
			return nil // in the midst of a head: the answers before still come
		}
		settled := !pipelined && c.answered(before, heard)
		if err == nil && next.upgrade {
			if settled {
				return anew{next}
			}
			err = refusal("Upgrade before the answer to the request before")
		}
		if r, ok := errors.AsType[refusal](err); ok && settled {
			return lastAnswer{r}
		}
		if err != nil {
			return err
		}
		h = &next
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

// upgrade passes on a request for WebSocket, the first on its connection to the
// host. If the server agrees, both sides are joined; if not, other requests may
// follow.
func (x *exchange) upgrade(h head) error {
	c := x.c
	if err := c.send(h.out); err != nil {
		return err
	}
	_ = c.up.SetReadDeadline(time.Now().Add(x.g.o.Limits.Connect))
	server := bufio.NewReaderSize(c.up, bufferSize)
	agreed := false
	for interim := true; interim; {
		answer, err := readHead(server)
		if err != nil {
			return err
		}
		if err := c.tell(answer); err != nil {
			return err
		}
		status, ok := strings.CutPrefix(string(answer), "HTTP/1.1 ")
		agreed = ok && strings.HasPrefix(status, "101 ")
		interim = ok && strings.HasPrefix(status, "1") && !agreed // RFC 9110, 15.2
	}
	if err := c.up.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	early, err := server.Peek(server.Buffered())
	if err != nil {
		return err
	}
	if err := c.tell(early); err != nil {
		return err
	}
	if !agreed {
		return x.g.join(c, func() error { return x.requests(nil) })
	}
	said, err := x.br.Peek(x.br.Buffered())
	if err != nil {
		return err
	}
	if err := c.send(said); err != nil {
		return err
	}
	return x.g.splice(c)
}

// tell writes to the program and counts.
func (c *conn) tell(b []byte) error {
	n, err := c.client.Write(b)
	c.received += uint64(n)
	return err
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
