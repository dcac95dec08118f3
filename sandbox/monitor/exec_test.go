// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// execBox runs a sandbox with a further program, whose client is returned.
func execBox(t *testing.T, task Task, f *fake) (*box, *wire.Conn) {
	t.Helper()
	b := runBox(task, f)
	b.init.polite = true
	b.started(t)
	c := b.ask(t, wire.RequestBody{Op: wire.OpExec, Exec: &wire.ExecRequest{Args: []string{"a", "b"}}})
	kind, p, err := c.ReadFrame()
	want := wire.Started
	if f.fail == "exec" {
		want = wire.Failure
	}
	if kind != want || err != nil {
		t.Fatalf("%q %s %v", kind, p, err)
	}
	return b, c
}

// stopBox ends the sandbox and returns how long its monitor takes to end.
func (b *box) stop(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	go func() { _, _ = exitOf(b.owner) }()
	if exit, err := exitOf(b.ask(t, wire.RequestBody{Op: wire.OpStop, Signal: int(unix.SIGTERM), Timeout: 10})); err != nil || exit.Code != 143 {
		t.Errorf("%+v, %v", exit, err)
	}
	b.end()
	return time.Since(begin)
}

// TestExecOfClients: what becomes of a further program, by what its client does.
func TestExecOfClients(t *testing.T) {
	for name, c := range map[string]struct {
		act     func(t *testing.T, b *box, c *wire.Conn)
		signals []unix.Signal
	}{
		"reads": {act: func(t *testing.T, b *box, c *wire.Conn) {
			t.Helper()
			b.exec.output <- frameOf()
			if kind, p, err := c.ReadFrame(); kind != wire.Stdout || !bytes.Equal(p, frameOf()) || err != nil {
				t.Errorf("%q, %d bytes, %v", kind, len(p), err)
			}
			b.exec.exit(4)
			if exit, err := exitOf(c); err != nil || exit.Code != 4 {
				t.Errorf("%+v, %v", exit, err)
			}
		}},
		"detaches": {act: func(t *testing.T, b *box, c *wire.Conn) {
			t.Helper()
			if err := c.WriteFrame(wire.Detach, nil); err != nil {
				t.Error(err)
			}
			for range 2 * losslessRoom / wire.ChunkSize {
				b.exec.output <- frameOf() // nobody reads it, nothing waits
			}
			b.exec.exit(0)
		}},
		"breaks off": {act: func(_ *testing.T, b *box, c *wire.Conn) {
			_ = c.Close()
			<-b.exec.ended
		}, signals: []unix.Signal{unix.SIGHUP, unix.SIGKILL}},
		"signals": {act: func(t *testing.T, _ *box, c *wire.Conn) {
			t.Helper()
			if err := c.WriteJSON(wire.Signal, int(unix.SIGKILL)); err != nil {
				t.Error(err)
			}
			if exit, err := exitOf(c); err != nil || exit.Code != 137 {
				t.Errorf("%+v, %v", exit, err)
			}
		}, signals: []unix.Signal{unix.SIGKILL}},
	} {
		t.Run(name, func(t *testing.T) {
			set, task := newBox(t, nil)
			synctest.Test(t, func(t *testing.T) {
				b, conn := execBox(t, task, &fake{})
				c.act(t, b, conn)
				synctest.Wait()
				if got := b.exec.got(); !slices.Equal(got, c.signals) {
					t.Errorf("signals %v, want %v", got, c.signals)
				}
				if b.exec.waited != 1 {
					t.Errorf("waited for %d times", b.exec.waited)
				}
				_ = conn.Close()
				if took := b.stop(t); took > tellTakes {
					t.Errorf("the monitor ended after %v", took)
				}
			})
			e, err := set.Find("box")
			if err != nil {
				t.Fatal(err)
			}
			if got := actions(t, journal.Of(e)); !slices.Contains(got, "exec_start: a b") || !slices.Contains(got, "exec_die") {
				t.Errorf("events: %v", got)
			}
		})
	}
}

// TestExecNeverRead: a client that does not read holds its own program up, and the
// end of a sandbox that somebody stops no longer than lastWords.
func TestExecNeverRead(t *testing.T) {
	_, task := newBox(t, nil)
	synctest.Test(t, func(t *testing.T) {
		b, conn := execBox(t, task, &fake{})
		b.exec.output <- frameOf()
		b.exec.exit(0) // as all of a sandbox ends with its first program
		if took := b.stop(t); took < lastWords || took > lastWords+2*tellTakes {
			t.Errorf("the monitor ended after %v, want about %v", took, lastWords)
		}
		_ = conn.Close()
	})
}

// TestExecFails: the client is told why, and the sandbox goes on.
func TestExecFails(t *testing.T) {
	_, task := newBox(t, nil)
	synctest.Test(t, func(t *testing.T) {
		b, _ := execBox(t, task, &fake{fail: "exec"})
		if b.m.program.ended() {
			t.Error("the sandbox has ended")
		}
		b.stop(t)
	})
}
