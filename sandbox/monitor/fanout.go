// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"slices"
	"sync"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// fanout passes a program's output to the log and to every attached client. Each
// program of a sandbox has one, the first as well as those of exec; an output that
// nobody reads is taken and dropped.
type fanout struct {
	log   *logfile.Writer // nil: nothing is kept
	ended <-chan struct{} // closed at the sandbox's end

	mu      sync.Mutex // guards what follows
	clients []*sink
	closed  bool
}

// attach adds a client, which is only a viewer unless the program was started
// for it. It returns nil when the output has ended.
func (f *fanout) attach(c *wire.Conn, viewer bool) *sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	s := newSink(c, viewer, f.ended)
	f.clients = append(f.clients, s)
	return s
}

// detach takes leave of a client that went away. One whose end is being told is
// no longer the fanout's.
func (f *fanout) detach(c *wire.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.clients, func(s *sink) bool { return s.conn == c })
	if i >= 0 {
		f.clients[i].leave()
		f.clients = slices.Delete(f.clients, i, i+1)
	}
}

// write passes p on. It returns when every client has taken it, or will.
func (f *fanout) write(t wire.Type, p []byte) {
	stream := logfile.Stdout
	if t == wire.Stderr {
		stream = logfile.Stderr
	}
	if f.log != nil {
		// A full disk must not stop the sandbox; its clients still see the output.
		_ = f.log.Append(stream, p)
	}
	for _, c := range f.snapshot() {
		if !c.put(t, p) {
			f.detach(c.conn)
		}
	}
}

func (f *fanout) snapshot() []*sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.clients)
}

// end returns the clients that are still attached; no more are taken.
func (f *fanout) end() []*sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	clients := f.clients
	f.clients = nil
	return clients
}
