// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// TestStopDuringAStart: a stop that comes before the program runs ends it as soon
// as it does; when the start fails, whoever asked for the stop hears the end of the
// connection.
func TestStopDuringAStart(t *testing.T) {
	for _, step := range []string{"settle", "root", "create", "host pid", "start"} {
		for _, fails := range []bool{false, true} {
			_, task := newBox(t, nil)
			synctest.Test(t, func(t *testing.T) {
				f := &fake{hold: step}
				if fails {
					f.fail = step
				}
				b := runBox(task, f)
				b.init.polite = true
				stop := b.ask(t, wire.RequestBody{Op: wire.OpStop, Signal: int(unix.SIGTERM), Timeout: 10})
				time.Sleep(hour)
				if got := b.init.got(); len(got) > 0 {
					t.Errorf("%s: signals %v before the start", step, got)
				}
				close(b.release)
				_, _, _ = b.owner.ReadFrame()
				go func() { _, _ = exitOf(b.owner) }()
				exit, err := exitOf(stop)
				if fails && err == nil || !fails && (err != nil || exit.Code != 128+int(unix.SIGTERM)) {
					t.Errorf("%s, fails %v: %+v, %v", step, fails, exit, err)
				}
				b.end()
			})
		}
	}
}

// TestClientsThatNeverRead: none keeps the program, other clients or the end of a
// sandbox that somebody ends waiting for long.
func TestClientsThatNeverRead(t *testing.T) {
	_, task := newBox(t, func(t *Task) { t.Record.Asked.Detach = true })
	synctest.Test(t, func(t *testing.T) {
		b := runBox(task, &fake{})
		b.init.polite = true
		b.started(t)
		deaf := []*wire.Conn{
			b.ask(t, wire.RequestBody{Op: wire.OpAttach}), b.ask(t, wire.RequestBody{Op: wire.OpWait}),
			b.ask(t, wire.RequestBody{Op: wire.OpNet, Net: &wire.NetRequest{}}), b.ask(t, wire.RequestBody{Op: "nonsense"}),
		}
		viewer := b.ask(t, wire.RequestBody{Op: wire.OpAttach})
		if kind, _, err := viewer.ReadFrame(); kind != wire.Started || err != nil {
			t.Fatalf("%q %v", kind, err)
		}
		begin := time.Now()
		for range 4 * viewerRoom / wire.ChunkSize {
			b.init.output <- frameOf()
		}
		if took := time.Since(begin); took > 2*viewerPatience {
			t.Errorf("the program was held up for %v", took)
		}
		waiter := b.ask(t, wire.RequestBody{Op: wire.OpWait})
		stop := b.ask(t, wire.RequestBody{Op: wire.OpStop, Signal: int(unix.SIGTERM), Timeout: 10})
		begin = time.Now()
		for _, c := range []*wire.Conn{waiter, stop} {
			if exit, err := exitOf(c); err != nil || exit.Code != 128+int(unix.SIGTERM) {
				t.Errorf("%+v, %v", exit, err)
			}
		}
		if took := time.Since(begin); took > 2*tellTakes {
			t.Errorf("whoever waits heard of the end after %v", took)
		}
		<-b.over
		if took := time.Since(begin); took > lastWords+2*tellTakes {
			t.Errorf("the monitor ended after %v", took)
		}
		for _, c := range append(deaf, viewer) {
			_ = c.Close()
		}
		b.end()
	})
}

// TestOwnerThatNeverReads: the program of a foreground client waits for it, until
// somebody ends the sandbox.
func TestOwnerThatNeverReads(t *testing.T) {
	_, task := newBox(t, nil)
	synctest.Test(t, func(t *testing.T) {
		b := runBox(task, &fake{})
		b.started(t)
		var written atomic.Int64
		go func() {
			for {
				select {
				case b.init.output <- frameOf():
					written.Add(wire.ChunkSize)
				case <-b.init.ended:
					return
				}
			}
		}()
		time.Sleep(hour)
		if n := written.Load(); n > 2*losslessRoom {
			t.Errorf("%d bytes were taken from a program that nobody reads", n)
		}
		begin := time.Now()
		kill := b.ask(t, wire.RequestBody{Op: wire.OpSignal, Signal: int(unix.SIGKILL)})
		if kind, p, err := kill.ReadFrame(); kind != wire.Reply || err != nil {
			t.Errorf("%q %s %v", kind, p, err)
		}
		<-b.over
		if took := time.Since(begin); took < lastWords || took > lastWords+2*tellTakes {
			t.Errorf("the monitor ended after %v, want about %v", took, lastWords)
		}
		b.end()
	})
}

// TestTwoStops: each has its own patience, the shorter counts, and both hear the
// same end.
func TestTwoStops(t *testing.T) {
	for name, c := range map[string]struct{ first, second, takes int }{
		"alike":          {10, 10, 10},
		"second shorter": {60, 10, 10},
		"second kills":   {60, 0, 0},
		"second waits":   {10, -1, 10},
	} {
		t.Run(name, func(t *testing.T) {
			set, task := newBox(t, nil)
			synctest.Test(t, func(t *testing.T) {
				b := runBox(task, &fake{})
				b.started(t)
				begin := time.Now()
				first := b.ask(t, wire.RequestBody{Op: wire.OpStop, Signal: int(unix.SIGTERM), Timeout: c.first})
				second := b.ask(t, wire.RequestBody{Op: wire.OpStop, Signal: int(unix.SIGTERM), Timeout: c.second})
				go func() { _, _ = exitOf(b.owner) }()
				var both sync.WaitGroup
				for _, s := range []*wire.Conn{first, second} {
					both.Go(func() {
						if exit, err := exitOf(s); err != nil || exit.Code != 128+int(unix.SIGKILL) {
							t.Errorf("%+v, %v", exit, err)
						}
					})
				}
				both.Wait()
				if took := time.Since(begin); took/time.Second != time.Duration(c.takes) {
					t.Errorf("stopped after %v, want %d s", took, c.takes)
				}
				b.end()
				if got := b.init.got(); got[0] != unix.SIGTERM || !slices.Contains(got, unix.SIGKILL) {
					t.Errorf("signals: %v", got)
				}
			})
			e, err := set.Find("box")
			if err != nil || e.Record.Status != record.Exited || e.Record.Outcome.ExitCode != 137 {
				t.Fatalf("%+v, %v", e, err)
			}
			if got := actions(t, journal.Of(e)); !slices.Contains(got, "die") || slices.Index(got, "die") > slices.Index(got, "stop") {
				t.Errorf("events: %v", got)
			}
		})
	}
}

// TestKillInEachState: a SIGKILL is answered and ends the sandbox, whatever state
// that is in; one that has ended stays as it ended.
func TestKillInEachState(t *testing.T) {
	kill := wire.RequestBody{Op: wire.OpSignal, Signal: int(unix.SIGKILL)}
	for state, c := range map[string]struct {
		hold  string
		bring func(t *testing.T, b *box) // into that state
		code  int
	}{
		"created": {hold: "start", bring: func(*testing.T, *box) {}, code: 137},
		"running": {bring: func(*testing.T, *box) {}, code: 137},
		"paused": {bring: func(t *testing.T, b *box) {
			t.Helper()
			b.m.limits.mu.Lock()
			b.m.limits.plan.Path = "/somewhere" // there is a cgroup
			b.m.limits.mu.Unlock()
			if kind, p, err := b.ask(t, wire.RequestBody{Op: wire.OpPause}).ReadFrame(); kind != wire.Reply || err != nil {
				t.Fatalf("%q %s %v", kind, p, err)
			}
			if !b.m.history.paused() || !b.called("pause") {
				t.Fatal("not paused")
			}
		}, code: 137},
		"exited": {bring: func(_ *testing.T, b *box) {
			b.init.exit(3)
			<-b.m.program.exited
		}, code: 3},
	} {
		t.Run(state, func(t *testing.T) {
			set, task := newBox(t, nil)
			synctest.Test(t, func(t *testing.T) {
				b := runBox(task, &fake{hold: c.hold})
				conn, err := b.listener.dial() // while there is one to connect to
				if err != nil {
					t.Fatal(err)
				}
				if c.hold == "" {
					b.started(t)
				}
				synctest.Wait()
				c.bring(t, b)
				go func() { _ = conn.WriteJSON(wire.Request, kill) }()
				if c.hold != "" {
					time.Sleep(hour)
					close(b.release)
					b.started(t)
				}
				if kind, p, err := conn.ReadFrame(); kind != wire.Reply || err != nil {
					t.Errorf("%q %s %v", kind, p, err)
				}
				if exit, err := exitOf(b.owner); err != nil || exit.Code != c.code {
					t.Errorf("%+v, %v", exit, err)
				}
				b.end()
				if _, err := b.listener.dial(); err == nil {
					t.Error("still there")
				}
			})
			e, err := set.Find("box")
			if err != nil || e.Record.Status != record.Exited || e.Record.Outcome.ExitCode != c.code {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// TestToldToEnd: a monitor that is told to end kills its sandbox, and says so.
func TestToldToEnd(t *testing.T) {
	set, task := newBox(t, nil)
	synctest.Test(t, func(t *testing.T) {
		b := runBox(task, &fake{})
		b.started(t)
		b.told <- unix.SIGHUP
		synctest.Wait()
		if got := b.init.got(); len(got) > 0 {
			t.Errorf("SIGHUP was passed on: %v", got)
		}
		b.told <- unix.SIGTERM
		exit, err := exitOf(b.owner)
		if err != nil || exit.Code != 137 || exit.Reason == "" {
			t.Errorf("%+v, %v", exit, err)
		}
		b.end()
	})
	if e, err := set.Find("box"); err != nil || e.Record.Outcome.Reason == "" {
		t.Errorf("%+v, %v", e, err)
	}
}
