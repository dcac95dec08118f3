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
	for name, n := range map[string]uint64{"count": e.Count, "limit": e.Limit, "used": e.Used, "files": e.Files} {
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
			l.struck.note(func() { l.struck.hits.PidsMax = e.Count })
		case cgroups.Memory80, cgroups.Memory95, cgroups.CPUThrottled, cgroups.MemoryPressure, cgroups.IOPressure:
		}
		l.history.note(action(e.Kind), describe(e))
	}
}

// outOfMemory puts a kill on record, which docker calls OOMKilled whatever came of it.
// A sandbox that is to end with the process that the kernel has killed is ended.
func (l *limits) outOfMemory(e cgroups.Event) {
	limits := l.planned().Limits
	why := outOf(limits.Memory, e)
	err := l.history.change(func(r *record.Record) {
		r.Outcome.OOMKilled, r.Outcome.OOMKills, r.Outcome.Files = true, e.Count, e.Files
		if e.Victim != nil {
			r.Outcome.Victim = fmt.Sprintf("%s (process %d)", e.Victim.Name, e.Victim.PID)
		}
	})
	if err != nil {
		complain(err)
	}
	l.struck.note(func() { l.struck.hits.OOMKills, l.struck.oom = e.Count, why })
	if !limits.OOMGroup {
		return
	}
	l.history.blame("killed: " + why)
	// Straight to the process: when it has ended, which the last look of the
	// watcher finds, its clients must still be told.
	_ = l.program.proc.Signal(unix.SIGKILL)
}

// maxCommand bounds what an event quotes of a command.
const maxCommand = 200

func commandLine(args []string) string {
	s := strings.Join(args, " ")
	return s[:min(len(s), maxCommand)]
}
