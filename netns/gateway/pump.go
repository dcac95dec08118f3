// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// spliceFrom is how much must lie ready for splice(2): less is cheaper to
	// read and write.
	spliceFrom = 16 << 10
	spliceMost = 1 << 20
	bufferSize = 16 << 10
)

// pump copies from one socket to the other until the first one's end. While
// nothing is to be copied it holds neither buffer nor pipe. An urgent byte
// (tcp(7), MSG_OOB) is passed on as one: splice(2) would stop before it for good,
// and read(2) would lose it.
func (g *Gateway) pump(c *conn, dst, src *net.TCPConn, count *uint64) error {
	from, err := src.SyscallConn()
	if err != nil {
		return err
	}
	for {
		if err := await(from); err != nil {
			return err
		}
		if err := c.wait(); err != nil {
			return err
		}
		urgent, has, size, err := pending(from)
		switch {
		case err != nil:
			return err
		case has:
			if err := sendUrgent(dst, urgent); err != nil {
				return err
			}
			*count++
			continue
		}
		n, err := g.move(dst, src, size)
		*count += uint64(n) //nolint:gosec // not negative
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// move copies once. It does not wait for src.
func (g *Gateway) move(dst, src *net.TCPConn, size int) (int64, error) {
	if size >= spliceFrom {
		select {
		case g.pipes <- struct{}{}:
			defer func() { <-g.pipes }()
			return dst.ReadFrom(&io.LimitedReader{R: src, N: int64(min(size, spliceMost))})
		default: // too many have a pipe
		}
	}
	b := g.buffers.Get().(*[bufferSize]byte)
	defer g.buffers.Put(b)
	n, err := src.Read(b[:])
	if n > 0 {
		m, werr := dst.Write(b[:n])
		return int64(m), errors.Join(werr, err)
	}
	return 0, err
}

func newBuffers() *sync.Pool { return &sync.Pool{New: func() any { return new([bufferSize]byte) }} }

// await returns once the socket has something: bytes, an urgent one, its end or
// an error.
func await(from syscall.RawConn) error {
	var one [1]byte
	var failed error // to see a socket's error is to take it
	err := from.Read(func(fd uintptr) bool {
		_, _, failed = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if errors.Is(failed, unix.EAGAIN) && isUrgent(int(fd)) {
			failed = nil
		}
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return failed
}

// isUrgent reports whether the next byte is urgent, is there and was not taken.
func isUrgent(fd int) bool {
	var one [1]byte
	// The cheap answer first: without urgent data this is EINVAL.
	n, _, err := unix.Recvfrom(fd, one[:], unix.MSG_OOB|unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n != 1 {
		return false
	}
	at, err := unix.IoctlGetInt(fd, unix.SIOCATMARK)
	return err == nil && at != 0
}

// pending takes the urgent byte if that is next, and else says how many bytes
// lie ready before one.
//
// It is called when await has seen a byte: so if the next one is not urgent now,
// it will not be, and whatever is read next ends before an urgent one.
func pending(from syscall.RawConn) (urgent byte, has bool, size int, err error) {
	cerr := from.Control(func(fd uintptr) {
		if isUrgent(int(fd)) {
			var one [1]byte
			var n int
			n, _, err = unix.Recvfrom(int(fd), one[:], unix.MSG_OOB|unix.MSG_DONTWAIT)
			urgent, has = one[0], n == 1
			return
		}
		size, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	})
	return urgent, has, size, errors.Join(cerr, err)
}

func sendUrgent(dst *net.TCPConn, b byte) error {
	to, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = to.Write(func(fd uintptr) bool {
		_, sent = unix.SendmsgN(int(fd), []byte{b}, nil, nil, unix.MSG_OOB|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}

// input reads what a program sends, within the budget. Before it waits, what was
// made of the bytes before goes out: so small pieces that came together leave
// together, and none is held back.
type input struct {
	c     *conn
	flush func() error
}

func (i *input) Read(b []byte) (int, error) {
	if i.flush != nil {
		if err := i.flush(); err != nil {
			return 0, err
		}
	}
	if err := i.c.wait(); err != nil {
		return 0, err
	}
	return i.c.client.Read(b)
}

// output writes to the host, and counts.
type output struct{ c *conn }

func (o output) Write(b []byte) (int, error) {
	n, err := o.c.up.Write(b)
	o.c.sent += uint64(n) //nolint:gosec // not negative
	return n, err
}
