// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"slices"
	"sync"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// fanout passes the sandbox's output to the log and to every attached client.
// A client that reads slowly slows the sandbox down; nothing is dropped.
type fanout struct {
	log *logfile.Writer

	mu      sync.Mutex // guards clients and closed
	clients []*wire.Conn
	closed  bool
}

// attach adds a client. It reports false when the output has ended.
func (f *fanout) attach(c *wire.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.clients = append(f.clients, c)
	return true
}

func (f *fanout) detach(c *wire.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.clients, c); i >= 0 {
		f.clients = slices.Delete(f.clients, i, i+1)
	}
}

// write passes p on. It returns when every client has taken it.
func (f *fanout) write(t wire.Type, p []byte) {
	stream := logfile.Stdout
	if t == wire.Stderr {
		stream = logfile.Stderr
	}
	// A full disk must not stop the sandbox; its clients still see the output.
	_ = f.log.Append(stream, p)
	for _, c := range f.snapshot() {
		if err := c.WriteFrame(t, p); err != nil {
			f.detach(c)
		}
	}
}

func (f *fanout) snapshot() []*wire.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.clients)
}

// end returns the clients that are still attached; no more are taken.
func (f *fanout) end() []*wire.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	clients := f.clients
	f.clients = nil
	return clients
}

// drop cuts off all clients, so that one that does not read cannot keep a
// sandbox from ending.
func (f *fanout) drop() {
	for _, c := range f.snapshot() {
		_ = c.Close()
		f.detach(c)
	}
}
