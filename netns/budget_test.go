// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// patterns are what a program does to have its gateway work for it. Each is done
// over and over, by several at once.
func patterns() map[string]func(o order, n int) {
	open := func(port string, f func(c *net.TCPConn)) func(order, int) {
		return func(o order, _ int) {
			c, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", net.JoinHostPort(o.Addr, port))
			if err != nil {
				return
			}
			defer c.Close()
			if c.SetDeadline(time.Now().Add(o.Wait)) == nil {
				f(c.(*net.TCPConn))
			}
		}
	}
	over := func(text string, start string) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			_, err := io.WriteString(c, start)
			for err == nil {
				_, err = io.WriteString(c, text)
			}
		}
	}
	var thousand string
	for range 1000 {
		thousand += "1\r\na\r\n"
	}
	const head = "POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n"
	ping := func(c *net.TCPConn) {
		b := make([]byte, 4096)
		for _, err := c.Read(b[:0]); err == nil; _, err = c.Read(b) {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n"); err != nil {
				return
			}
		}
	}
	// Frames of one byte, which the world's server sends back.
	frames := func(c *net.TCPConn) {
		const hello = "GET / HTTP/1.1\r\nHost: good.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
		if _, err := io.WriteString(c, hello); err != nil {
			return
		}
		go func() { _, _ = io.Copy(io.Discard, c) }()
		over("\x82\x81\x00\x00\x00\x00x", "")(c)
	}
	udp := func(to string, question bool) func(order, int) {
		return func(_ order, n int) {
			c, err := net.Dial("udp", to)
			if err != nil {
				return
			}
			defer c.Close()
			for k := range 500 {
				q := new(dns.Msg)
				q.SetQuestion(fmt.Sprintf("n%d-%d.names.test.", n, k), dns.TypeA)
				b, err := q.Pack()
				if !question {
					b = []byte("x")
				}
				if err == nil {
					_, _ = c.Write(b)
				}
			}
		}
	}
	return map[string]func(o order, n int){
		"chunks of a byte":    open("80", over(thousand, head)),
		"chunks one by one":   open("80", over("1\r\na\r\n", head)),
		"requests":            open("80", ping),
		"requests in a row":   open("80", over("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", "")),
		"bytes":               open("22", over("x", "")),
		"WebSocket frames":    open("80", frames),
		"bulk":                open("22", over(thousand+thousand+thousand, "")),
		"connections":         open("22", func(*net.TCPConn) {}),
		"hosts that refuse":   open("9", func(*net.TCPConn) {}),
		"refused connections": func(order, int) { _, _ = net.DialTimeout("tcp", "203.0.113.99:25", time.Second) },
		"refused datagrams":   udp("203.0.113.99:99", false),
		"questions":           udp("198.18.0.1:53", true),
		"questions over TCP":  func(_ order, n int) { _ = ask("198.18.0.1:53", fmt.Sprintf("x%d.names.test.", n)) },
		"TLS": open("443", func(c *net.TCPConn) {
			_ = tls.Client(c, &tls.Config{ServerName: "good.test", InsecureSkipVerify: true}).Handshake()
		}), //nolint:gosec // nothing is kept
		"TLS to another": open("443", func(c *net.TCPConn) {
			_ = tls.Client(c, &tls.Config{ServerName: "bad.test", InsecureSkipVerify: true}).Handshake()
		}), //nolint:gosec // nothing is kept
		"a head byte by byte":  open("80", over("x", "GET /")),
		"a hello byte by byte": open("443", over("\x00", "\x16\x03\x01\x40\x00\x01\x00\x3f")),
		"urgent bytes": open("22", func(c *net.TCPConn) {
			raw, err := c.SyscallConn()
			for err == nil {
				err = raw.Write(func(fd uintptr) bool {
					return unix.Sendto(int(fd), []byte("u"), unix.MSG_OOB|unix.MSG_NOSIGNAL, nil) == nil
				})
			}
		}),
	}
}

// noise does a pattern for a time.
func noise(o order) {
	f := patterns()[o.Send]
	var wg sync.WaitGroup
	end := time.Now().Add(o.Wait)
	for k := range 4 {
		wg.Go(func() {
			for n := k; time.Now().Before(end); n += 4 {
				o := o
				o.Wait = time.Until(end)
				f(o, n)
			}
		})
	}
	wg.Wait()
}

func processTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// TestBudget: whatever a program does, nothing is done for it once the budget is
// used up but what was under way. (What a budget is, package cpubudget's tests
// show. The servers of the test are part of the process; a sandbox's are not.)
func TestBudget(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		// In processor time, which others on a busy machine do not add to.
		const during, begun, underWay, nothing = 700 * time.Millisecond, 10 * time.Millisecond, 80 * time.Millisecond, 1e-9
		const busy = 5 // times as long for what is to use more, on a machine that others use, too
		w := newWorld(t.T)
		budget := cpubudget.New(0)
		n, b := open(t, Options{
			Policy: allow(t.T, "good.test:22", "good.test:80", "good.test:443", "good.test:9", "*.names.test:80"), Host: w.host(), Budget: budget,
		})
		addr := b.works(order{Do: "lookup", Addr: "good.test"}).Names[0]
		// use is what a pattern costs from when its work has begun, with the budget then.
		use := func(pattern string, then float64, during time.Duration) (cpu time.Duration, had bool) {
			done := make(chan struct{})
			start := processTime(t.T)
			go func() {
				defer close(done)
				b.works(order{Do: "noise", Addr: addr, Send: pattern, Wait: during})
			}()
			for processTime(t.T)-start < begun {
				select {
				case <-done:
					return 0, false
				case <-time.After(5 * time.Millisecond):
				}
			}
			budget.Set(then)
			start = processTime(t.T)
			<-done
			cpu = processTime(t.T) - start
			budget.Set(0)
			testkit.Eventually(t.T, soon, "all connections end", func() bool { return len(n.gw.Conns()) == 0 })
			return cpu, true
		}
		for _, control := range []string{"chunks of a byte", "bytes", "WebSocket frames"} {
			if cpu, _ := use(control, 0, busy*during); cpu <= underWay {
				t.Errorf("%s, without a bound: only %v", control, cpu)
			}
		}
		for pattern := range patterns() {
			const tries = 8
			for try := 1; ; try++ {
				cpu, had := use(pattern, nothing, during)
				if had && cpu <= underWay {
					t.Logf("%s: %v", pattern, cpu)
					break
				}
				if try == tries {
					t.Errorf("%s: %v of processor time after the budget was used up; any before: %v", pattern, cpu, had)
					break
				}
			}
		}
	})
}
