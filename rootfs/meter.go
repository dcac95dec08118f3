// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// meter tells the progress of a blob, now and then.
type meter struct {
	tell   func(Event) // nobody if nil
	action string
	desc   v1.Descriptor
	n      int64
	last   time.Time
}

func (m *meter) add(n int) { m.at(m.n + int64(n)) }

func (m *meter) at(n int64) {
	const often = 100 * time.Millisecond
	m.n = n
	if m.tell != nil && time.Since(m.last) >= often {
		m.last = time.Now()
		m.tell(Event{Action: m.action, Digest: m.desc.Digest, Done: m.n, Total: m.desc.Size})
	}
}

// metered reads what a meter counts.
type metered struct {
	io.Reader
	m *meter
}

// Read implements io.Reader.
func (r metered) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.m.add(n)
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
