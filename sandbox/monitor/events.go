// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// action is what an event of the limits is called in the journal.
func action(k cgroups.Kind) string {
	if k == cgroups.OOMKill {
		return "oom" // docker's
	}
	return string(k)
}

// describe makes attributes of an event of the limits.
func describe(e cgroups.Event) attributes {
	a := attributes{"kind": string(e.Kind)}
	for name, n := range map[string]uint64{"count": e.Count, "limit": e.Limit, "used": e.Used} {
		if n > 0 {
			a[name] = strconv.FormatUint(n, 10)
		}
	}
	if e.Victim != nil {
		a["victim"], a["victimPid"] = e.Victim.Name, strconv.Itoa(e.Victim.PID)
	}
	return a
}

// onEvents takes the consequences of what the limits have done.
func (l *limits) onEvents(events <-chan cgroups.Event) {
	for e := range events {
		switch e.Kind {
		case cgroups.OOMKill:
			l.outOfMemory(e)
		case cgroups.PidsMax:
			// Written now, so that inspect shows it while the sandbox runs.
			if err := l.history.change(func(r *record.Record) { r.Outcome.PidsHits = e.Count }); err != nil {
				complain(err)
			}
		case cgroups.Memory80, cgroups.Memory95, cgroups.CPUThrottled, cgroups.MemoryPressure, cgroups.IOPressure:
		}
		l.history.note(action(e.Kind), describe(e))
	}
}

// outOfMemory ends the whole sandbox, one process of which the kernel has killed.
func (l *limits) outOfMemory(e cgroups.Event) {
	why := "killed: out of memory at the " + size(l.planned().Limits.Memory) + " limit"
	l.history.set(func(r *record.Record) {
		r.Outcome.OOMKilled = true
		if e.Victim != nil {
			r.Outcome.Victim = fmt.Sprintf("%s (process %d)", e.Victim.Name, e.Victim.PID)
			why += ", which " + strconv.Quote(e.Victim.Name) + " used up"
		}
	})
	l.history.blame(why)
	// Straight to the process: when it has ended, which the last look of the
	// watcher finds, its clients must still be told.
	_ = l.program.proc.Signal(unix.SIGKILL)
}

// blamePids says what a program may have failed for that did not get along with
// the limit of processes.
func (l *limits) blamePids(code int) {
	hits, limit := l.history.record().Outcome.PidsHits, l.planned().Limits.Pids
	if code != 0 && hits > 0 && limit > 0 {
		l.history.blame(fmt.Sprintf("failed after the limit of %d processes had refused %d more", limit, hits))
	}
}

// maxCommand bounds what an event quotes of a command.
const maxCommand = 200

func commandLine(args []string) string {
	s := strings.Join(args, " ")
	return s[:min(len(s), maxCommand)]
}
