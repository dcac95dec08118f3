// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"math"
	"sync"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Room in a sink, in bytes, before the program has to wait for its client.
const (
	losslessRoom = 128 << 10
	viewerRoom   = 1 << 20
)

const (
	// viewerPatience is how long a program waits for a viewer that takes
	// nothing at all, once.
	viewerPatience = 2 * time.Second
	// lastWords is how long the client of a sandbox that somebody has ended may
	// take nothing of the rest of the output before it loses it.
	lastWords = 10 * time.Second
)

// sink is the way of a program's output to one client: a queue, and a goroutine
// that writes what is in it. The foreground client of a program gets all of it,
// if need be at the price that the program waits. A viewer that takes nothing
// for a while is cut off. Once the sandbox has ended nothing waits for a client
// any more: what is left of the output is bounded by the kernel's pipes, and is
// queued.
type sink struct {
	conn   *wire.Conn
	viewer bool
	ended  <-chan struct{} // closed at the sandbox's end
	wake   chan struct{}   // there is something to write; of capacity 1
	done   chan struct{}   // closed when nothing more will be written

	mu     sync.Mutex // guards what follows
	queue  []byte     // encoded frames
	queued int        // bytes that the client has not taken
	gone   bool
	last   bool          // nothing more will be queued
	moved  chan struct{} // closed, and made anew, when the client has taken a frame
}

func newSink(c *wire.Conn, viewer bool, ended <-chan struct{}) *sink {
	s := &sink{
		conn: c, viewer: viewer, ended: ended,
		wake: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{}),
	}
	go s.run()
	return s
}

// put queues a frame, as soon as there is room. It reports false when the
// client is gone or has been cut off.
func (s *sink) put(t wire.Type, p []byte) bool {
	room := losslessRoom
	var patience <-chan time.Time
	if s.viewer {
		room = viewerRoom
	}
	for {
		moved, ok := s.tryPut(t, p, room)
		if moved == nil {
			return ok
		}
		if s.viewer {
			patience = time.After(viewerPatience)
		}
		select {
		case <-moved:
		case <-s.done:
		case <-s.ended:
			room = math.MaxInt
		case <-patience:
			s.cut()
		}
	}
}

// tryPut returns what to wait for if there is no room.
func (s *sink) tryPut(t wire.Type, p []byte, room int) (moved <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.last {
		return nil, false
	}
	if s.queued > 0 && s.queued+len(p) > room {
		return s.moved, false
	}
	s.enqueue(t, p)
	return nil, true
}

// enqueue is for a caller that holds mu.
func (s *sink) enqueue(t wire.Type, p []byte) {
	before := len(s.queue)
	s.queue = wire.AppendFrame(s.queue, t, p)
	s.queued += len(s.queue) - before
	s.rouse()
}

func (s *sink) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end queues the last frame, how the program ended; the connection is closed when it has been taken.
func (s *sink) end(body wire.ExitBody) {
	raw, err := json.Marshal(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.gone && !s.last {
		s.enqueue(wire.Exit, raw)
	}
	s.last = true
	s.rouse()
}

// cut closes the connection, whatever is queued.
func (s *sink) cut() {
	_ = s.conn.Close()
	s.leave()
}

// leave drops what is queued: the client wants no more.
func (s *sink) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.queue = true, nil
	s.rouse()
}

// finished reports whether nothing more will be written.
func (s *sink) finished() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// linger returns when the client has taken everything, or is gone. From when
// hurry is closed, one that takes nothing for lastWords is cut off; a viewer
// always is.
func (s *sink) linger(hurry <-chan struct{}) {
	if s.viewer {
		hurry = s.ended
	}
	select {
	case <-s.done:
		return
	case <-hurry:
	}
	for {
		s.mu.Lock()
		moved := s.moved
		s.mu.Unlock()
		select {
		case <-s.done:
			return
		case <-moved:
		case <-time.After(lastWords):
			s.cut()
			return
		}
	}
}

// run writes what is queued.
func (s *sink) run() {
	defer close(s.done)
	var spare []byte
	for {
		s.mu.Lock()
		frames, last, gone := s.queue, s.last, s.gone
		s.queue = spare[:0]
		s.mu.Unlock()
		switch {
		case gone:
			return
		case len(frames) > 0:
			if !s.write(frames) {
				s.leave()
				return
			}
			if spare = frames; cap(spare) > losslessRoom {
				spare = nil // it was a burst
			}
		case last:
			_ = s.conn.Close()
			return
		default:
			spare = frames
			<-s.wake
		}
	}
}

// write writes whole frames, one by one.
func (s *sink) write(frames []byte) bool {
	for len(frames) > 0 {
		n := wire.FrameLen(frames)
		if s.conn.WriteEncoded(frames[:n]) != nil {
			return false
		}
		frames = frames[n:]
		s.mu.Lock()
		s.queued -= n
		close(s.moved)
		s.moved = make(chan struct{})
		gone := s.gone
		s.mu.Unlock()
		if gone {
			return false
		}
	}
	return true
}
