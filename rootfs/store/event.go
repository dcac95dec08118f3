// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Event tells how a transfer, or the unpacking of layers, goes on.
type Event struct {
	// Action is "resolve", "download", "resume", "exists", "unpack", "unpacked",
	// "sync" (being written to disk), "done", "ready" (unpacked and in its place),
	// "upload", "mounted" or "pushed".
	Action string
	Digest digest.Digest // of the blob concerned; empty for "resolve"
	Done   int64         // bytes so far
	Total  int64         // bytes in all
}

// Meter tells the progress of a blob, now and then.
type Meter struct {
	Tell   func(Event) // nobody if nil
	Action string
	Blob   v1.Descriptor
	N      int64 // bytes so far
	last   time.Time
}

// Add counts bytes.
func (m *Meter) Add(n int) { m.At(m.N + int64(n)) }

// At says how many bytes there are by now.
func (m *Meter) At(n int64) {
	const often = 100 * time.Millisecond
	m.N = n
	if m.Tell != nil && time.Since(m.last) >= often {
		m.last = time.Now()
		m.Tell(Event{Action: m.Action, Digest: m.Blob.Digest, Done: m.N, Total: m.Blob.Size})
	}
}

// metered reads what a meter counts.
type metered struct {
	io.Reader
	m *Meter
}

// Read implements io.Reader.
func (r metered) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.m.Add(n)
	return n, err
}

// Unpacking sums up the events of layers that are unpacked. Its zero value is
// ready.
type Unpacking struct {
	layers map[digest.Digest]Event
}

// Add takes in an event, and returns what is being done by now, and how much of
// it, in bytes.
func (u *Unpacking) Add(e Event) (what string, done, total int64) {
	if u.layers == nil {
		u.layers = make(map[digest.Digest]Event)
	}
	u.layers[e.Digest] = e
	written := 0
	for _, l := range u.layers {
		if done, total = done+l.Done, total+l.Total; l.Action != "unpack" {
			written++
		}
	}
	what = fmt.Sprintf("%d layers", len(u.layers))
	if len(u.layers) == 1 {
		what = "a layer"
	}
	if written == len(u.layers) {
		return "Writing " + what + " to disk", 0, 0
	}
	return "Unpacking " + what, done, total
}
