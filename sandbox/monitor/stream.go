// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// terminal is a program's terminal or pipes, as its clients need them.
type terminal interface {
	input
	window
}

// serveStream passes a client's frames to a program. It reports whether the
// client left on purpose.
func serveStream(c *wire.Conn, to terminal, signal func(unix.Signal)) (detached bool) {
	queue := make(chan inputFrame, wire.StdinFrames)
	defer close(queue)
	left := make(chan struct{})
	defer close(left)
	go passInput(c, to, queue)
	for {
		t, payload, err := c.ReadFrame()
		if err != nil {
			return false
		}
		switch t {
		case wire.Stdin, wire.StdinEOF:
			select {
			case queue <- inputFrame{payload, t == wire.StdinEOF}:
			default:
				return false // it did not wait for Taken
			}
		case wire.Resize:
			var body wire.ResizeBody
			if wire.Decode(t, payload, &body) != nil {
				continue
			}
			to.Resize(body.Size)
			if body.Redraw {
				go (&redraw{window: to}).again(left)
			}
		case wire.Signal:
			var n int
			if wire.Decode(t, payload, &n) == nil {
				signal(unix.Signal(n))
			}
		case wire.Detach:
			return true
		default:
			return false
		}
	}
}

type inputFrame struct {
	bytes []byte
	end   bool
}

// passInput gives a program its input at the program's pace, so that the
// client is heard meanwhile. What is queued when the client leaves still comes.
func passInput(c *wire.Conn, to input, queue <-chan inputFrame) {
	for f := range queue {
		if f.end {
			to.EndInput()
		} else {
			_ = to.Input(f.bytes) // a program that is gone takes no input
		}
		_ = c.WriteFrame(wire.Taken, nil) // whoever reads frames hears that the client is gone
	}
}
