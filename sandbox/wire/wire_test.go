// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketpair returns two connected ends, as a client and a monitor have them.
func socketpair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		ends[i] = New(c)
		t.Cleanup(func() { _ = c.Close() })
	}
	return ends[0], ends[1]
}

func TestFrames(t *testing.T) {
	a, b := socketpair(t)
	big := bytes.Repeat([]byte{0, 0xff, '\n', 'x'}, MaxPayload/4)
	frames := []struct {
		t Type
		p []byte
	}{{Stdin, []byte("hello")}, {StdinEOF, nil}, {Stdout, big}, {Type(0), []byte{0}}}
	sent := make(chan error, 1)
	go func() {
		var err error
		for _, f := range frames {
			err = errors.Join(err, a.WriteFrame(f.t, f.p))
		}
		sent <- errors.Join(err, a.WriteJSON(Resize, Size{Rows: 24, Cols: 80}), a.Close())
	}()
	for i, want := range frames {
		typ, p, err := b.ReadFrame()
		if err != nil || typ != want.t || !bytes.Equal(p, want.p) {
			t.Fatalf("frame %d: %q, %d bytes, %v", i, byte(typ), len(p), err)
		}
	}
	typ, p, err := b.ReadFrame()
	var size Size
	if err != nil || typ != Resize || Decode(typ, p, &size) != nil || size != (Size{24, 80}) {
		t.Errorf("resize: %q %q %v", byte(typ), p, err)
	}
	if _, _, err := b.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want EOF", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWriteTooLarge(t *testing.T) {
	a, b := socketpair(t)
	if err := a.WriteFrame(Stdin, make([]byte, MaxPayload+1)); err == nil {
		t.Error("sent more than a frame may hold")
	}
	if err := a.WriteFrame(Detach, nil); err != nil {
		t.Fatal(err)
	}
	if typ, _, err := b.ReadFrame(); typ != Detach || err != nil {
		t.Errorf("the next frame is %q, %v", byte(typ), err)
	}
}

func TestReadRefuses(t *testing.T) {
	head := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'o'}, n) }
	for _, c := range []struct {
		name string
		raw  []byte
		want error // nil: any
	}{
		{"oversize", head(MaxPayload + 1), nil},
		{"as large as can be", head(1<<32 - 1), nil},
		{"cut in the header", []byte{'o', 0, 0}, io.ErrUnexpectedEOF},
		{"cut in the payload", append(head(10), "12345"...), io.ErrUnexpectedEOF},
		{"cut before the payload", head(10), io.ErrUnexpectedEOF},
		{"nothing", nil, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := socketpair(t)
			if _, err := a.Write(c.raw); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			_, _, err := b.ReadFrame()
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// TestConcurrentWrites: frames of several goroutines must not mix.
func TestConcurrentWrites(t *testing.T) {
	a, b := socketpair(t)
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				if err := a.WriteFrame(Type('a'+w), bytes.Repeat([]byte{byte('a' + w)}, 5000+w)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range writers * each {
		typ, p, err := b.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(typ)}, 5000+int(typ)-'a')) {
			t.Fatalf("frame %q is not what was written", byte(typ))
		}
	}
	wg.Wait()
}

func TestDecodeNamesTheFrame(t *testing.T) {
	err := Decode(Resize, []byte("{"), &Size{})
	if err == nil || fmt.Sprint(err)[:9] != `frame 'w'` {
		t.Errorf("error %v", err)
	}
}

// fixed is a connection on which only these bytes come in.
type fixed struct{ io.Reader }

func (fixed) Write(p []byte) (int, error)      { return len(p), nil }
func (fixed) Close() error                     { return nil }
func (fixed) LocalAddr() net.Addr              { return nil }
func (fixed) RemoteAddr() net.Addr             { return nil }
func (fixed) SetDeadline(time.Time) error      { return nil }
func (fixed) SetReadDeadline(time.Time) error  { return nil }
func (fixed) SetWriteDeadline(time.Time) error { return nil }

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("i\x00\x00\x00\x05hello"))
	f.Add([]byte("e\x00\x00\x00\x00w\x00\x00\x00\x02{}"))
	f.Add([]byte("o\xff\xff\xff\xff"))
	f.Add([]byte("o\x00\x10\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := New(fixed{bytes.NewReader(raw)})
		var again []byte
		for {
			typ, p, err := c.ReadFrame()
			if err != nil {
				break
			}
			again = append(again, byte(typ))
			again = binary.BigEndian.AppendUint32(again, uint32(len(p)))
			again = append(again, p...)
		}
		if !bytes.HasPrefix(raw, again) {
			t.Errorf("%q was read as %q", raw, again)
		}
	})
}
