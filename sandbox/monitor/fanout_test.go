// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"net"
	"testing"
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
func client(t *testing.T, f *fanout) *wire.Conn {
	t.Helper()
	ours, theirs := net.Pipe() // holds nothing: a write waits for its reader
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	if !f.attach(wire.New(ours)) {
		t.Fatal("not attached")
	}
	return wire.New(theirs)
}

func TestFanoutWaitsForSlowReaders(t *testing.T) {
	f, dir := newFanout(t)
	c := client(t, f)
	const frames = 20
	written := make(chan int, frames)
	go func() {
		for i := range frames {
			f.write(wire.Stdout, []byte{byte(i)})
			written <- i
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if n := len(written); n > 0 {
		t.Errorf("%d writes ended before anybody read", n)
	}
	var got bytes.Buffer
	for range frames {
		_, p, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		got.Write(p)
	}
	var logged bytes.Buffer
	if err := logfile.Read(dir, func(e logfile.Entry) error { logged.Write(e.Data); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if got.Bytes()[i] != byte(i) || logged.Bytes()[i] != byte(i) {
			t.Fatalf("read %v, logged %v", got.Bytes(), logged.Bytes())
		}
	}
}

func TestFanoutDropsClients(t *testing.T) {
	f, _ := newFanout(t)
	client(t, f) // reads nothing
	done := make(chan struct{})
	go func() {
		f.write(wire.Stderr, []byte("x"))
		close(done)
	}()
	time.Sleep(10 * time.Millisecond)
	f.drop()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("still waits for a client that was dropped")
	}
	if left := f.end(); len(left) > 0 {
		t.Errorf("%d clients are left", len(left))
	}
	if f.attach(wire.New(nil)) {
		t.Error("attached after the end")
	}
}
