// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package terminal puts the person's terminal into raw mode for the time of an
// attached session, finds a detach sequence in what is typed, and gives terminals
// their sizes.
package terminal

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/term"
)

// Is reports whether f is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Raw switches f to raw mode. The first of the returned functions switches back
// to what was before, the first time it is called. The second one switches to raw
// mode once more, unless that was done: a shell sets a terminal to modes of its
// own while a job is stopped.
func Raw(f *os.File) (restore, again func(), err error) {
	fd := int(f.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("raw mode of %s: %w", f.Name(), err)
	}
	var mu sync.Mutex // guards over
	over := false
	restore = func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			over = true
			_ = term.Restore(fd, before)
		}
	}
	again = func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			_, _ = term.MakeRaw(fd)
		}
	}
	return restore, again, nil
}

// Detacher finds a key sequence in a stream of typed bytes. The zero value
// finds none.
type Detacher struct {
	Keys []byte
	held int // how many bytes of Keys the input so far ends in
}

// Feed returns what of p is to be passed on, and whether the sequence is
// complete. Bytes that may be the beginning of the sequence are held back
// until it is clear that they are not.
func (d *Detacher) Feed(p []byte) (pass []byte, detach bool) {
	if len(d.Keys) == 0 {
		return p, false
	}
	for _, b := range p {
		if b == d.Keys[d.held] {
			if d.held++; d.held == len(d.Keys) {
				d.held = 0
				return pass, true
			}
			continue
		}
		pass = append(pass, d.mismatch(b)...)
	}
	return pass, false
}

// mismatch gives up as much of the held bytes as cannot begin the sequence
// any more, now that b has come.
func (d *Detacher) mismatch(b byte) []byte {
	seen := append(append([]byte(nil), d.Keys[:d.held]...), b)
	for n := min(len(seen), len(d.Keys)-1); n > 0; n-- {
		if string(seen[len(seen)-n:]) == string(d.Keys[:n]) {
			d.held = n
			return seen[:len(seen)-n]
		}
	}
	d.held = 0
	return seen
}
