// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// TestHTTPSwapEarly: who sends the next request without waiting for an answer
// is reset, so that the refusal is no part of another answer.
func TestHTTPSwapEarly(t *testing.T) {
	const first, swapped = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"
	var reached atomic.Bool
	release := make(chan struct{})
	port := server(t, func(c *net.TCPConn) {
		if _, err := io.ReadFull(c, make([]byte, len(first))); err != nil {
			return
		}
		<-release
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			reached.Store(true)
		}
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	for _, sent := range [][]string{{first + swapped}, {first, swapped}} {
		c := f.dial(0, port)
		for _, part := range sent {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) || len(got) > 0 {
			t.Errorf("%q: %q, %v", sent, got, err)
		}
		f.event(event.Close, event.Denied)
	}
	close(release)
	if reached.Load() {
		t.Error("a byte got out")
	}
}
