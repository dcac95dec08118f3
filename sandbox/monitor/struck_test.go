// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// TestOutOf: a kill is told with who was killed and with what no kill gives back.
func TestOutOf(t *testing.T) {
	python := &cgroups.Victim{Name: "python3", PID: 7}
	for name, c := range map[string]struct {
		e          cgroups.Event
		want, none string
	}{
		"a program":           {cgroups.Event{Victim: python}, `at the 64 MiB limit, which "python3" used up`, "files"},
		"some files too":      {cgroups.Event{Victim: python, Files: 5 << 20}, `"python3" used up; files in memory hold 5 MiB`, ""},
		"mostly files":        {cgroups.Event{Victim: python, Files: 60 << 20}, `hold 60 MiB of it, and "python3" needed more`, "used up"},
		"nobody knows":        {cgroups.Event{}, "out of memory at the 64 MiB limit", "which"},
		"files, nobody knows": {cgroups.Event{Files: 60 << 20}, "hold 60 MiB of it", "needed"},
	} {
		got := outOf(64<<20, c.e)
		if !strings.Contains(got, c.want) || c.none != "" && strings.Contains(got, c.none) {
			t.Errorf("%s: %q, want %q, not %q", name, got, c.want, c.none)
		}
	}
}

// outOfMemory has the limits of a box report a kill.
func (b *box) outOfMemory(kills uint64) {
	events := make(chan cgroups.Event, 1)
	events <- cgroups.Event{Kind: cgroups.OOMKill, Count: kills, Victim: &cgroups.Victim{Name: "hog", PID: 9}}
	close(events)
	b.m.limits.onEvents(events)
}

// TestOutOfMemory: the kernel's victim ends and the sandbox goes on, unless all of it
// is to end; both are on record.
func TestOutOfMemory(t *testing.T) {
	for name, c := range map[string]struct {
		group  bool
		end    func(*box)
		code   int
		reason string
	}{
		"goes on and fails": {false, func(b *box) { b.init.exit(3) }, 3, "failed after the kernel had killed a process: out of memory"},
		"goes on":           {false, func(b *box) { b.init.exit(0) }, 0, "ended well, but the kernel had killed a process: out of memory"},
		"is the victim":     {false, func(b *box) { _ = b.init.Signal(unix.SIGKILL) }, 137, "killed: out of memory"},
		"all ends":          {true, func(*box) {}, 137, "killed: out of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			set, task := newBox(t, func(t *Task) { t.Plan.Limits = cgroups.Limits{Memory: 64 << 20, OOMGroup: c.group} })
			synctest.Test(t, func(t *testing.T) {
				b := runBox(task, &fake{})
				b.started(t)
				b.outOfMemory(1)
				if got := len(b.init.got()) > 0; got != c.group {
					t.Errorf("the sandbox was ended: %v, want %v", got, c.group)
				}
				c.end(b)
				exit, err := exitOf(b.owner)
				if err != nil || exit.Code != c.code || !strings.HasPrefix(exit.Reason, c.reason) {
					t.Errorf("%+v, %v; want %d, %q", exit, err, c.code, c.reason)
				}
				b.end()
			})
			e, err := set.Find("box")
			if err != nil || !e.Record.Outcome.OOMKilled || e.Record.Outcome.OOMKills != 1 || e.Record.Outcome.Victim != "hog (process 9)" {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// TestKillAfterOutOfMemory: who ends a sandbox in which something was killed long ago is
// not told that memory did it.
func TestKillAfterOutOfMemory(t *testing.T) {
	_, task := newBox(t, func(t *Task) { t.Plan.Limits = cgroups.Limits{Memory: 64 << 20} })
	synctest.Test(t, func(t *testing.T) {
		b := runBox(task, &fake{})
		b.started(t)
		b.outOfMemory(1)
		kill := b.ask(t, wire.RequestBody{Op: wire.OpSignal, Signal: int(unix.SIGKILL)})
		_, _, _ = kill.ReadFrame()
		if exit, err := exitOf(b.owner); err != nil || exit.Code != 137 || exit.Reason != "" {
			t.Errorf("%+v, %v", exit, err)
		}
		b.end()
	})
}

// TestExecIsTold: the client of a further program hears what the limits and the network
// did while it ran, and nothing of before.
func TestExecIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		during, end func(*box)
		reason      string
		refused     int
	}{
		"killed": {during: func(b *box) { b.outOfMemory(2) }, end: func(b *box) { _ = b.exec.Signal(unix.SIGKILL) }, reason: "killed: out of memory"},
		"failed": {during: func(b *box) { b.outOfMemory(2) }, end: func(b *box) { b.exec.exit(1) }, reason: "failed after the kernel had killed"},
		"refused": {
			during: func(b *box) { b.m.outlet.tellWatchers(refusal("during.test")) },
			end:    func(b *box) { b.exec.exit(0) }, refused: 1,
		},
		"nothing": {end: func(b *box) { b.exec.exit(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			_, task := newBox(t, func(t *Task) { t.Plan.Limits = cgroups.Limits{Memory: 64 << 20} })
			synctest.Test(t, func(t *testing.T) {
				b, conn := execBox(t, task, &fake{})
				if c.during != nil {
					c.during(b)
				}
				c.end(b)
				exit, err := exitOf(conn)
				if err != nil || !strings.HasPrefix(exit.Reason, c.reason) || c.reason == "" && exit.Reason != "" || len(exit.Refusals) != c.refused {
					t.Errorf("%+v, %v", exit, err)
				}
				if got := len(b.m.outlet.watchers); got != 0 {
					t.Errorf("%d programs that have ended are still told", got)
				}
				_ = conn.Close()
				b.stop(t)
			})
		})
	}
}

func refusal(host string) event.Event {
	return event.Event{Kind: event.DNS, Verdict: event.Denied, Query: "A", Name: host, Reason: "no rule names this host"}
}

// TestAwaitKills: whoever waits for the report of a kill hears of it, and waits no
// longer than it says.
func TestAwaitKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s struck
		begin := time.Now()
		s.await(1, time.Minute)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("waited %v for a report that never comes", took)
		}
		go func() {
			time.Sleep(time.Second)
			s.note(func() { s.hits.OOMKills = 2 })
		}()
		begin = time.Now()
		s.await(2, time.Minute)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("waited %v for a report after a second", took)
		}
	})
}
