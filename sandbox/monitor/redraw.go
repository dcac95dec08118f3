// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import "time"

const (
	// redrawPause is how long a program has to see a size before the next. Two
	// changes at once are one to it, and many draw only if the size is another.
	redrawPause = 40 * time.Millisecond
	// redrawLast is the longest pause: a program that has drawn nothing by then
	// has nothing to draw.
	redrawLast = 640 * time.Millisecond
)

// redrawn is a terminal whose program can be made to draw anew.
type redrawn interface {
	Shrink()
	Restore()
	Written() int64
}

// redraw makes full-screen programs draw anew for a terminal that is attached or
// comes back, also if it has the size that they know: the size changes, and changes
// back.
type redraw struct {
	window redrawn
	before int64 // what was written when the size was taken away
}

// begin takes the size away. The caller then sets the one that is wanted.
func (r *redraw) begin() {
	r.before = r.window.Written()
	r.window.Shrink()
	time.Sleep(redrawPause)
}

// again takes the size away, gives it back and insists.
func (r *redraw) again(left <-chan struct{}) {
	r.begin()
	r.window.Restore()
	r.insist(left)
}

// insist repeats that, with longer pauses, until something is drawn: a program
// on a busy machine may have seen only the last of the two sizes. It returns
// when the client has left, too.
func (r *redraw) insist(left <-chan struct{}) {
	for pause := 2 * redrawPause; pause <= redrawLast; pause *= 2 {
		if !waited(pause, left) || r.window.Written() != r.before {
			return
		}
		r.before = r.window.Written()
		r.window.Shrink()
		stays := waited(pause, left)
		r.window.Restore()
		if !stays {
			return
		}
	}
}

// waited reports false when the channel was closed before the time was over.
func waited(d time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	case <-time.After(d):
		return true
	}
}
