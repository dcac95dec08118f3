// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// TestResetPassed: a side that breaks off is seen to do so by the other, however
// much of the connection the gateway reads.
func TestResetPassed(t *testing.T) {
	cert, pool := certificate(t, "a.test")
	ready, cut := make(chan error, 1), make(chan struct{}, 1)
	seen := make(chan error, 1)
	for _, proto := range []string{"raw", "tls", "http"} {
		var byServer atomic.Bool
		port := server(t, func(c *net.TCPConn) {
			var side io.ReadWriter = c
			switch proto {
			case "tls":
				side = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			case "http":
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
			}
			_, err := io.WriteString(side, "x")
			ready <- err
			if byServer.Load() {
				<-cut
				_ = c.SetLinger(0)
				return
			}
			_, err = io.Copy(io.Discard, side)
			seen <- err
		})
		f := start(t, Options{}, fmt.Sprintf("a.test:%d/%s", port, proto), grant(port))
		for _, server := range []bool{true, false} {
			byServer.Store(server)
			c := f.dial(0, port)
			var side io.ReadWriter = c
			switch proto {
			case "tls":
				side = tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "a.test"})
			case "http":
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := side.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%s: %v", proto, err)
			}
			if err := <-ready; err != nil {
				t.Fatalf("%s: %v", proto, err)
			}
			var err error
			if server {
				cut <- struct{}{}
				_, err = io.Copy(io.Discard, side)
			} else {
				_ = c.SetLinger(0)
				_ = c.Close()
				err = <-seen
			}
			if !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%s, broken off by the server %v: the other side sees %v", proto, server, err)
			}
			if e := f.event(event.Close, event.Allowed); e.Reason != "reset" {
				t.Errorf("%s: %+v", proto, e)
			}
		}
	}
}

// TestBackPressure: what the program does not read, the gateway does not fetch.
func TestBackPressure(t *testing.T) {
	const all = 256 << 20
	var sent atomic.Int64
	port := server(t, func(c *net.TCPConn) {
		part := make([]byte, 64<<10)
		for sent.Load() < all {
			n, err := c.Write(part)
			if err != nil {
				return
			}
			sent.Add(int64(n))
		}
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d", port), grant(port))
	c := f.dial(0, port)
	before := int64(-1)
	for range 1000 {
		time.Sleep(50 * time.Millisecond)
		now := sent.Load()
		if now > 0 && now == before {
			break
		}
		before = now
	}
	if before == 0 || before > all/4 {
		t.Errorf("%d bytes were fetched for a program that reads none", before)
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != all {
		t.Errorf("%d of %d bytes, %v", n, all, err)
	}
}
