// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// drawing is a program that looks at its window's size every so often, and
// draws when it is another than the last time.
type drawing struct {
	size, shrunk atomic.Int64
	written      atomic.Int64
}

func (d *drawing) Shrink()  { d.size.Store(23); d.shrunk.Add(1) }
func (d *drawing) Restore() { d.size.Store(24) }

// Written implements the window of redraw.
func (d *drawing) Written() int64 { return d.written.Load() }

func (d *drawing) run(every time.Duration, stop <-chan struct{}) {
	seen := d.size.Load()
	for waited(every, stop) {
		if now := d.size.Load(); now != seen {
			seen = now
			d.written.Add(10)
		}
	}
}

// TestRedrawOfSlowPrograms: a program too slow for the first change of its size
// draws at a later one; none is asked again that has drawn, and none for ever.
func TestRedrawOfSlowPrograms(t *testing.T) {
	for name, c := range map[string]struct {
		every        time.Duration // 0: never looks
		draws        bool
		least, most  int64
		clientLeaves bool
	}{
		"quick":     {every: 7 * time.Millisecond, draws: true, least: 1, most: 1},
		"slow":      {every: 130 * time.Millisecond, draws: true, least: 2, most: 4},
		"very slow": {every: 590 * time.Millisecond, draws: true, least: 3, most: 5},
		"blind":     {least: 5, most: 5},
		"abandoned": {least: 1, most: 1, clientLeaves: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &drawing{}
				d.size.Store(24)
				stop, left := make(chan struct{}), make(chan struct{})
				if c.every > 0 {
					go d.run(c.every, stop)
				}
				if c.clientLeaves {
					close(left)
				}
				r := &redraw{window: d}
				r.again(left)
				time.Sleep(time.Second)
				close(stop)
				if drew := d.written.Load() > 0; drew != c.draws {
					t.Errorf("drawn: %t", drew)
				}
				if n := d.shrunk.Load(); n < c.least || n > c.most {
					t.Errorf("the size was taken away %d times, not %d to %d", n, c.least, c.most)
				}
				if d.size.Load() != 24 {
					t.Error("the size is not given back")
				}
			})
		})
	}
}
