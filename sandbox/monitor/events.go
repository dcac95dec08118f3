// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// attributes are what an event says further.
type attributes map[string]string

// note tells of something that happened to the sandbox, in the journal of all and
// in its own. A full disk must not stop the sandbox.
func (m *monitor) note(action string, more attributes) {
	e := journal.New(m.entry.Record, action, more)
	journals := []journal.Journal{journal.Of(m.entry), m.common()}
	if action == "destroy" { // its own went with it
		journals = journals[1:]
	}
	for _, j := range journals {
		if err := j.Append(e); err != nil {
			fmt.Fprintf(os.Stderr, "cpc monitor: %s\n", visible.Error(err))
		}
	}
}

func (m *monitor) common() journal.Journal { return journal.Common(record.Set{Dirs: m.task.Dirs}) }

// noteEnd tells that the sandbox has ended.
func (m *monitor) noteEnd(code int) {
	m.mu.Lock()
	reason, stopped := m.reason, m.stopped
	m.mu.Unlock()
	more := attributes{"exitCode": strconv.Itoa(code)}
	if reason != "" {
		more["reason"] = reason
	}
	m.note("die", more)
	if stopped {
		m.note("stop", nil)
	}
}

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
func (m *monitor) onEvents(events <-chan cgroups.Event) {
	for e := range events {
		switch e.Kind {
		case cgroups.OOMKill:
			m.outOfMemory(e)
		case cgroups.PidsMax:
			m.mu.Lock()
			m.entry.Record.Outcome.PidsHits = e.Count
			err := m.entry.Save() // so that inspect shows it while the sandbox runs
			m.mu.Unlock()
			if err != nil {
				fmt.Fprintf(os.Stderr, "cpc monitor: %s\n", visible.Error(err))
			}
		case cgroups.Memory80, cgroups.Memory95, cgroups.CPUThrottled, cgroups.MemoryPressure, cgroups.IOPressure:
		}
		m.note(action(e.Kind), describe(e))
	}
}

// outOfMemory ends the whole sandbox, one process of which the kernel has killed.
func (m *monitor) outOfMemory(e cgroups.Event) {
	limit := m.plannedLimits().Memory
	why := "killed: out of memory at the " + size(limit) + " limit"
	m.mu.Lock()
	o := &m.entry.Record.Outcome
	o.OOMKilled = true
	if e.Victim != nil {
		o.Victim = fmt.Sprintf("%s (process %d)", e.Victim.Name, e.Victim.PID)
		why += ", which " + strconv.Quote(e.Victim.Name) + " used up"
	}
	m.mu.Unlock()
	m.blame(why)
	// Straight to the process: when it has ended, which the last look of the
	// watcher finds, its clients must still be told.
	_ = unix.PidfdSendSignal(m.pidfd, unix.SIGKILL, nil, 0)
}

// blamePids says what a program may have failed for that did not get along with
// the limit of processes.
func (m *monitor) blamePids(code int) {
	m.mu.Lock()
	hits, limit := m.entry.Record.Outcome.PidsHits, m.task.Plan.Limits.Pids
	m.mu.Unlock()
	if code != 0 && hits > 0 && limit > 0 {
		m.blame(fmt.Sprintf("failed after the limit of %d processes had refused %d more", limit, hits))
	}
}

// maxCommand bounds what an event quotes of a command.
const maxCommand = 200

func commandLine(args []string) string {
	s := strings.Join(args, " ")
	return s[:min(len(s), maxCommand)]
}
