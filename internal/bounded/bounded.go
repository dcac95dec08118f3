// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package bounded keeps a bounded part of what a program writes.
package bounded

import "bytes"

// Buffer keeps the first Most bytes that are written to it, and takes the rest without
// keeping it. It is for one writer at a time.
type Buffer struct {
	Most int

	data bytes.Buffer // not embedded: io.Copy would fill it by ReadFrom, past Write
	over bool
}

// Write implements io.Writer. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	keep := p
	if room := b.Most - b.data.Len(); len(keep) > room {
		keep, b.over = keep[:room], true
	}
	b.data.Write(keep)
	return len(p), nil
}

// Over reports whether there was more than Most.
func (b *Buffer) Over() bool { return b.over }

// Bytes returns what was kept; it changes with the next Write.
func (b *Buffer) Bytes() []byte { return b.data.Bytes() }

// String returns what was kept.
func (b *Buffer) String() string { return b.data.String() }
