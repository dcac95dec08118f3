// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"sync"

	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// window is the size that a terminal was given last.
type window struct {
	mu   sync.Mutex
	size wire.Size
}

// Resize sets the terminal's size. Without a terminal nothing happens.
func (s *Stdio) Resize(size wire.Size) {
	if size.Rows == 0 || size.Cols == 0 {
		return
	}
	s.window.mu.Lock()
	defer s.window.mu.Unlock()
	s.window.size = size
	s.setSize(size)
}

// Shrink takes a row off the terminal's size, for as long as a program needs to
// see it: many draw anew only when the size is another than before. Restore or
// Resize must follow.
func (s *Stdio) Shrink() {
	s.window.mu.Lock()
	defer s.window.mu.Unlock()
	if size := s.window.size; size.Rows > 1 {
		s.setSize(wire.Size{Rows: size.Rows - 1, Cols: size.Cols})
	}
}

// Restore gives the terminal back the size that it was given last.
func (s *Stdio) Restore() {
	s.window.mu.Lock()
	defer s.window.mu.Unlock()
	if s.window.size.Rows > 0 {
		s.setSize(s.window.size)
	}
}

func (s *Stdio) setSize(size wire.Size) {
	if s.tty == nil {
		return
	}
	_ = terminal.Resize(s.tty, size.Rows, size.Cols) // a dead terminal has no size
}
