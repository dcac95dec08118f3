// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// TestUrgent: an urgent byte goes on as one, both ways, wherever it is among the
// others, and what follows it is not held up.
func TestUrgent(t *testing.T) {
	type heard struct{ plain, urgent string }
	listen := func(c *net.TCPConn) heard {
		var h heard
		raw, err := c.SyscallConn()
		if err != nil {
			return h
		}
		b := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		for !strings.Contains(h.plain, "z") {
			if await(raw) != nil {
				return h
			}
			urgent, has, _, err := pending(raw)
			if err != nil {
				return h
			}
			if has {
				h.urgent += string([]byte{urgent})
				continue
			}
			n, err := c.Read(b)
			if err != nil {
				return h
			}
			h.plain += string(b[:n])
		}
		return h
	}
	say := func(c *net.TCPConn, parts ...string) {
		for _, p := range parts {
			if urgent, ok := strings.CutPrefix(p, "!"); ok {
				if err := sendUrgent(c, urgent[0]); err != nil {
					t.Error(err)
				}
			} else if _, err := io.WriteString(c, p); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond) // so that the other side can take one urgent byte before the next
		}
	}
	got := make(chan heard, 1)
	port := server(t, func(c *net.TCPConn) {
		got <- listen(c)
		say(c, "!U", "ab", "!V", "cz")
		_, _ = io.Copy(io.Discard, c)
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d", port), grant(port))
	for _, parts := range [][]string{
		{"ab", "!U", "cd", "z"}, {"!U", "abcdz"}, {"ab", "!U", "!V", "z"}, {strings.Repeat("x", 100<<10), "!U", "z"},
	} {
		c := f.dial(0, port)
		say(c, parts...)
		var want heard
		for _, p := range parts {
			if urgent, ok := strings.CutPrefix(p, "!"); ok {
				want.urgent += urgent
			} else {
				want.plain += p
			}
		}
		// Of several, the receiver's kernel keeps the last; an older one it lost is in the stream.
		if have := <-got; strings.Trim(have.plain, "UV") != want.plain && strings.NewReplacer("U", "", "V", "").Replace(have.plain) != want.plain || !strings.HasSuffix(want.urgent, have.urgent) || have.urgent == "" {
			t.Errorf("%.20q: %.40q, urgent %q", parts, have.plain, have.urgent)
		}
		if have := listen(c); strings.NewReplacer("U", "", "V", "").Replace(have.plain) != "abcz" || !strings.Contains("UV", have.urgent) || have.urgent == "" {
			t.Errorf("answer: %+v", have)
		}
		_ = c.Close()
	}
}

// TestKeptUpgrade: WebSocket works on a connection that had requests, and other
// requests work after one that the server has not agreed to. Whatever answers say,
// another host's name is refused.
func TestKeptUpgrade(t *testing.T) {
	port := server(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			switch {
			case r.URL.Path == "/ws":
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+
					"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(c, br)
				return
			case r.Method == http.MethodHead:
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			default:
				text := "HTTP/1.1 101 X\r\n\r\n" + string(body) // as a body it means nothing
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			}
		}
	})
	f := start(t, Options{}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	const ask = "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	dial := func() (io.ReadWriteCloser, func(request, method string) *http.Response) {
		c := f.dial(0, port)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		br := bufio.NewReader(c)
		both := struct {
			io.Reader
			io.WriteCloser
		}{br, c}
		return both, func(request, method string) *http.Response {
			if _, err := io.WriteString(c, request); err != nil {
				t.Error(err)
			}
			for {
				resp, err := http.ReadResponse(br, &http.Request{Method: method})
				if err != nil {
					t.Fatalf("%q: %v", request, err)
				}
				if resp.StatusCode/100 == 1 && resp.StatusCode != 101 {
					continue
				}
				if resp.StatusCode != 101 {
					b, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatalf("%q: %v", request, err)
					}
					resp.Body = io.NopCloser(bytes.NewReader(b))
				}
				return resp
			}
		}
	}
	c, do := dial()
	for _, r := range [][2]string{
		{"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n", "HEAD"},
		{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET"},
		{fmt.Sprintf(ask, "/no"), "GET"},
		{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET"},
		{fmt.Sprintf(ask, "/no"), "GET"},
	} {
		if got := do(r[0], r[1]); got.StatusCode != 200 {
			t.Errorf("%q: %s", r[0], got.Status)
		}
	}
	if got := do(fmt.Sprintf(ask, "/ws"), "GET"); got.StatusCode != 101 {
		t.Fatal(got.Status)
	}
	frame := make([]byte, 5)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, frame); err != nil || string(frame) != "hello" {
		t.Errorf("%q, %v", frame, err)
	}
	_ = c.Close()
	if e := f.event(event.Close, event.Allowed); e.Sent == 0 || e.Received == 0 {
		t.Errorf("%+v", e)
	}

	c, do = dial()
	do(fmt.Sprintf(ask, "/no"), "GET")
	if got := do("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET"); got.StatusCode != 403 {
		t.Errorf("another host after a refused Upgrade: %s", got.Status)
	}
	_ = c.Close()
}

// TestQueue: as many connections at once as there may be at a time, and more, are
// all served when there is room.
func TestQueue(t *testing.T) {
	const places, all = 50, 500
	port := server(t, echo)
	f := start(t, Options{Limits: Limits{Conns: places, PerSecond: 100_000}}, fmt.Sprintf("a.test:%d", port), grant(port))
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := 0
	f.dst.Store(new(name(0, port)))
	for range all {
		wg.Go(func() {
			c, err := net.Dial("tcp", f.at)
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "hi")
			_ = c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); err == nil && string(got) == "hi" {
				mu.Lock()
				served++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if served != all {
		t.Errorf("%d of %d served", served, all)
	}
}

// TestSearch: a program says the short name that its resolver has completed, and
// may say no other.
func TestSearch(t *testing.T) {
	port := server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	f := start(t, Options{Search: []string{"example.org", "test"}}, fmt.Sprintf("a.test:%d/http", port), grant(port))
	for host, want := range map[string]string{"a": "204", "A": "204", "a.test": "204", "b": "403", "a.example.org": "403", "test": "403"} {
		c := f.dial(0, port)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 "+want) {
			t.Errorf("Host %s: %.20q, want %s", host, got, want)
		}
	}
}

// TestShare: whatever the limit, a quarter of the descriptors is left.
func TestShare(t *testing.T) {
	for _, limit := range []uint64{64, 256, 1024, 4096, 1 << 20, 1 << 63} {
		s := shareOf(limit)
		used := uint64(2*min(s.conns, 512) + s.early + s.beside + 4*s.pipes + 4*s.resolve) //nolint:gosec // small
		if s.conns < 1 || used > limit*3/4 {
			t.Errorf("limit %d: %+v are %d descriptors", limit, s, used)
		}
	}
}
