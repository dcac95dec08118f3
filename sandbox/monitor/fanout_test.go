// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

func newFanout(t *testing.T) (*fanout, string) {
	t.Helper()
	dir := t.TempDir()
	log, err := logfile.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &fanout{log: log}, dir
}

// client attaches a client and returns its end.
func client(t *testing.T, f *fanout, viewer bool) *wire.Conn {
	t.Helper()
	ours, theirs := net.Pipe() // holds nothing: a write waits for its reader
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	if f.attach(wire.New(ours), viewer) == nil {
		t.Fatal("not attached")
	}
	return wire.New(theirs)
}

// frameOf is the payload of one frame of output.
func frameOf() []byte { return bytes.Repeat([]byte("x"), wire.ChunkSize) }

func TestFanoutWaitsForItsForegroundClient(t *testing.T) {
	f, dir := newFanout(t)
	synctest.Test(t, func(t *testing.T) {
		c := client(t, f, false)
		const frames = 20
		var written atomic.Int64
		go func() {
			for range frames {
				f.write(wire.Stdout, frameOf())
				written.Add(1)
			}
		}()
		time.Sleep(time.Hour)
		if n := written.Load(); n*wire.ChunkSize > losslessRoom {
			t.Errorf("%d writes ended before anybody read", n)
		}
		for range frames {
			if _, p, err := c.ReadFrame(); err != nil || !bytes.Equal(p, frameOf()) {
				t.Fatalf("%d bytes, %v", len(p), err)
			}
		}
		for _, s := range f.end() {
			s.cut()
		}
	})
	logged := 0
	if err := logfile.Read(dir, func(e logfile.Entry) error { logged += len(e.Data); return nil }); err != nil || logged != 20*wire.ChunkSize {
		t.Errorf("logged %d bytes, %v", logged, err)
	}
}

func TestFanoutCutsOffAViewerThatReadsNothing(t *testing.T) {
	f, _ := newFanout(t)
	synctest.Test(t, func(t *testing.T) {
		c := client(t, f, true)
		begin := time.Now()
		for range 4 * viewerRoom / wire.ChunkSize {
			f.write(wire.Stdout, frameOf())
		}
		if took := time.Since(begin); took != viewerPatience {
			t.Errorf("the program was held up for %v, want %v once", took, viewerPatience)
		}
		if left := f.end(); len(left) > 0 {
			t.Errorf("%d clients are left", len(left))
		}
		if _, _, err := c.ReadFrame(); err == nil {
			t.Error("a frame for a client that was cut off")
		}
		if f.attach(wire.New(nil), true) != nil {
			t.Error("attached after the end")
		}
	})
}

func TestNothingWaitsForClientsAfterTheEnd(t *testing.T) {
	f, _ := newFanout(t)
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		f.ended = ended
		c := client(t, f, false)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 4 * losslessRoom / wire.ChunkSize {
				f.write(wire.Stdout, frameOf())
			}
		}()
		time.Sleep(time.Hour)
		close(ended)
		<-done
		hurry := make(chan struct{})
		out := f.end()[0]
		out.end(wire.ExitBody{Code: 7})
		if _, _, err := c.ReadFrame(); err != nil {
			t.Fatal(err)
		}
		close(hurry) // somebody ended the sandbox: the client does not read on
		begin := time.Now()
		out.linger(hurry)
		if took := time.Since(begin); took < lastWords || took > 2*lastWords {
			t.Errorf("lingered for %v, want about %v", took, lastWords)
		}
	})
}

func TestTheLastFrameComesAfterAllOutput(t *testing.T) {
	f, _ := newFanout(t)
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		f.ended = ended
		close(ended)
		c := client(t, f, false)
		for range 8 {
			f.write(wire.Stdout, frameOf())
		}
		out := f.end()[0]
		out.end(wire.ExitBody{Code: 7})
		time.Sleep(time.Hour) // nobody hurries a client of a sandbox that ended by itself
		for range 8 {
			if kind, _, err := c.ReadFrame(); err != nil || kind != wire.Stdout {
				t.Fatalf("%q, %v", kind, err)
			}
		}
		kind, p, err := c.ReadFrame()
		var exit wire.ExitBody
		if err != nil || kind != wire.Exit || wire.Decode(kind, p, &exit) != nil || exit.Code != 7 {
			t.Errorf("%q, %s, %v", kind, p, err)
		}
		out.linger(nil)
	})
}
