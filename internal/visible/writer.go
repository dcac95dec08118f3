// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Writer returns a writer that passes on text by the rule of the package. It
// keeps line ends and tabs, bounds nothing, and holds back no more than half a
// character. It can be written to from several goroutines.
func Writer(w io.Writer) io.Writer { return &writer{to: w} }

type writer struct {
	to io.Writer

	mu     sync.Mutex // guards what follows
	filter Filter
	part   []byte // of a character
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := append(w.part, p...)
	out := make([]byte, 0, len(in))
	for len(in) > 0 && utf8.FullRune(in) {
		r, size := utf8.DecodeRune(in)
		in = in[size:]
		if r = w.filter.Next(r); r != Dropped && r != '\r' {
			out = utf8.AppendRune(out, r)
		}
	}
	w.part = append([]byte(nil), in...)
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
