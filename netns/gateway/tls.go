// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// serveTLS lets a connection through whose ClientHello names its host.
func (g *Gateway) serveTLS(ctx context.Context, c *conn) {
	if c.client.SetReadDeadline(time.Now().Add(g.o.Limits.Head)) != nil {
		return // it is closed
	}
	hello, sni, err := readHello(&input{c: c}, nil)
	c.said = sni
	if err == nil {
		err = sameName(sni, c.host, g.o.Search)
	}
	if err != nil {
		g.refuseTLS(c, err)
		return
	}
	if c.client.SetReadDeadline(time.Time{}) != nil || !g.open(ctx, c) {
		return
	}
	c.sent = uint64(len(hello))
	if _, err := c.up.Write(hello); err != nil {
		reset(c.client)
		g.finish(c, err)
		return
	}
	g.finish(c, g.joinTLS(c))
}

// refuseTLS says no in TLS, so that the program reports that instead of a
// broken connection. Whatever it sends is read no more.
func (g *Gateway) refuseTLS(c *conn, why error) {
	const fatal, unrecognizedName = 2, 112 // RFC 8446, 6
	if isTimeout(why) {
		why = refusal("no ClientHello in time")
	}
	if isCut(why) {
		why = refusal("closed before the ClientHello was complete")
	}
	if c.client.SetWriteDeadline(time.Now().Add(g.o.Limits.Head)) == nil {
		_, _ = c.client.Write([]byte{21, 3, 1, 0, 2, fatal, unrecognizedName})
	}
	g.sayNo(c, why)
}

// sayNo ends a connection after a last word, which a reset could overtake.
func (g *Gateway) sayNo(c *conn, why error) {
	c.hearOut()
	g.refuse(c, why)
}

// hearOut ends what is said to the program, and gives it time to read that.
func (c *conn) hearOut() {
	_ = c.client.CloseWrite()
	_ = c.client.SetReadDeadline(time.Now().Add(lastWord))
	_, _ = io.CopyN(io.Discard, c.client, maxHello)
}

// lastWord is how long a program has to read why it was refused.
const lastWord = 200 * time.Millisecond

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// joinTLS copies both ways, after a look at the server's first message: if it
// asks for another ClientHello, that one is checked too.
func (g *Gateway) joinTLS(c *conn) error {
	// The client's side waits for the server's first message anyway.
	_ = c.up.SetReadDeadline(time.Now().Add(g.o.Limits.Connect))
	f, err := readFlight(c.up, nil)
	if n, werr := c.client.Write(f.raw); werr != nil {
		c.received = uint64(n)
		return werr
	}
	c.received = uint64(len(f.raw))
	var r refusal
	switch {
	case err == nil, errors.As(err, &r): // not TLS, an alert: nothing to check
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	default:
		reset(c.client)
		return err
	}
	if err := c.up.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if !isRetry(f.msg) {
		return g.splice(c)
	}
	return g.join(c, func() error {
		again, err := g.secondHello(c)
		if err != nil || !again {
			return err
		}
		return g.pump(c, c.up, c.client, &c.sent)
	})
}

// secondHello passes on the answer to a HelloRetryRequest: perhaps a
// ChangeCipherSpec and early data, then the ClientHello. It reports whether
// more may follow.
func (g *Gateway) secondHello(c *conn) (more bool, err error) {
	if err := c.client.SetReadDeadline(time.Now().Add(g.o.Limits.Head)); err != nil {
		return false, err
	}
	in := &input{c: c}
	var rec record
	for range maxRecords {
		if rec, err = readRecord(in); err != nil {
			break
		}
		if rec.kind() != recordCCS && rec.kind() != recordData {
			break
		}
		if err := c.send(rec); err != nil {
			return false, err
		}
	}
	if errors.Is(err, io.EOF) && len(rec) == 0 {
		return false, nil // the program has given up
	}
	if err != nil {
		return false, err
	}
	if rec.kind() != recordHandshake {
		return false, c.send(rec) // an alert, after which nothing can follow
	}
	raw, sni, err := readHello(in, rec)
	if err == nil {
		c.said = sni
		err = sameName(sni, c.host, g.o.Search)
	}
	if err != nil {
		return false, err
	}
	if err := c.send(raw); err != nil {
		return false, err
	}
	return true, c.client.SetReadDeadline(time.Time{})
}

// send writes to the host and counts.
func (c *conn) send(b []byte) error {
	n, err := c.up.Write(b)
	c.sent += uint64(n)
	return err
}
