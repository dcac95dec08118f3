// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import "io"

const (
	aheadBlocks = 8
	aheadBlock  = 256 << 10
)

// Ahead reads a stream in a goroutine of its own, up to 2 MiB ahead of who
// reads from it: decompressing and unpacking then take a processor each. Close
// ends the goroutine and closes the stream.
func Ahead(r io.ReadCloser) io.ReadCloser {
	a := &ahead{full: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{}), done: make(chan struct{})}
	for range aheadBlocks {
		a.free <- make([]byte, aheadBlock)
	}
	go a.fill(r)
	return a
}

type block struct {
	data []byte
	err  error
}

type ahead struct {
	full chan block
	free chan []byte
	stop chan struct{}
	done chan struct{}
	// closing is the stream's answer to being closed, once done is closed.
	closing error
	now     block
	buf     []byte // of now, whole
}

func (a *ahead) fill(r io.ReadCloser) {
	defer close(a.done)
	defer func() { a.closing = r.Close() }()
	for {
		var buf []byte
		select {
		case <-a.stop:
			return
		case buf = <-a.free:
		}
		n, err := io.ReadAtLeast(r, buf, len(buf))
		if err == io.ErrUnexpectedEOF && n > 0 { // the stream is not: its last block is short
			err = io.EOF
		}
		select {
		case <-a.stop:
			return
		case a.full <- block{buf[:n], err}:
		}
		if err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.buf != nil {
			a.free <- a.buf
		}
		a.now = <-a.full
		a.buf = a.now.data[:cap(a.now.data)]
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}

// Close implements io.Closer.
func (a *ahead) Close() error {
	close(a.stop)
	<-a.done
	return a.closing
}
