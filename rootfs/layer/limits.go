// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Limits bound what a layer may make of the disk and of the time of its
// reader. A zero field stands for the default.
type Limits struct {
	// Bytes is the size of all files, and of the stream; default 64 GiB.
	Bytes int64
	// Entries is the number of entries in the stream; default 5 million.
	Entries int64
	// Ratio is how much larger than its compressed form a stream may be, once
	// it is larger than a GiB; default 250. (gzip reaches 1030 on zeroes.)
	Ratio int64
}

const (
	defaultBytes   = 64 << 30
	defaultEntries = 5_000_000
	defaultRatio   = 250
	ratioFrom      = 1 << 30

	// maxName and maxPath are the kernel's: NAME_MAX, and PATH_MAX without
	// the final NUL.
	maxName = 255
	maxPath = 4095

	// maxDirNames bounds the memory for directories whose times are yet to
	// be set; dirCost is what one takes beside its name.
	maxDirNames = 512 << 20
	dirCost     = 48
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.Ratio == 0 {
		l.Ratio = defaultRatio
	}
	return l
}

// Total is the limit on the size of a stream, the default if there is none.
func (l Limits) Total() int64 { return l.withDefaults().Bytes }

// boundedReader reads a stream until the context ends or it grows too large.
type boundedReader struct {
	ctx   context.Context
	r     io.Reader
	n     int64
	limit int64
	// zeroes is how many of the bytes read last are zero.
	zeroes int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	if end := len(bytes.TrimRight(p[:n], "\x00")); end > 0 {
		b.zeroes = int64(n - end)
	} else {
		b.zeroes += int64(n)
	}
	if b.n > b.limit {
		return 0, fmt.Errorf("layer is larger than the limit of %d bytes", b.limit)
	}
	return n, err
}
