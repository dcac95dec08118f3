// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// history is the sandbox's record and journals. Nothing else in this process
// changes or writes them.
type history struct {
	entry  *record.Entry
	common journal.Journal // of all sandboxes
	made   bool            // the sandbox's creation has been told: so will its removal be

	mu      sync.Mutex // guards the record and what follows
	reason  string     // for the sandbox's end, when it is not the program's own doing
	stopped bool       // by cpc stop
	stopper string     // who asked for that
}

// attributes are what an event says further.
type attributes map[string]string

// by adds who has asked for what an event tells of.
func (a attributes) by(who string) attributes {
	if who == "" { // of an earlier cpc
		return a
	}
	all := attributes{journal.By: who}
	maps.Copy(all, a)
	return all
}

// note tells of something that happened to the sandbox, in the journal of all and
// in its own. A full disk must not stop the sandbox.
func (h *history) note(action string, more attributes) {
	e := journal.New(h.entry.Record, action, more)
	journals := []journal.Journal{journal.Of(h.entry), h.common}
	if action == "destroy" { // its own went with it
		journals = journals[1:]
	}
	for _, j := range journals {
		if err := j.Append(e); err != nil {
			complain(err)
		}
	}
}

// complain is for an error that nobody asks for.
func complain(err error) { fmt.Fprintf(os.Stderr, "cpc monitor: %s\n", visible.Error(err)) }

// record returns the record as it is at this moment.
func (h *history) record() record.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *h.entry.Record
}

// set changes the record; it is written by the next change.
func (h *history) set(f func(*record.Record)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.entry.Record)
}

// change changes the record and writes it.
func (h *history) change(f func(*record.Record)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.entry.Record)
	return h.entry.Save()
}

// setStatus is for a sandbox that lives; its end is final.
func (h *history) setStatus(status record.Status) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entry.Record.Status == record.Exited {
		return nil
	}
	h.entry.Record.Status = status
	return h.entry.Save()
}

func (h *history) paused() bool { return h.record().Status == record.Paused }

// blame puts the reason for the sandbox's end on record, if there is none yet.
func (h *history) blame(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reason == "" {
		h.reason = reason
	}
}

// stop puts on record that somebody has asked the sandbox to end.
func (h *history) stop(by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped, h.stopper = true, by
}

// noteCreate tells that the sandbox is being made.
func (h *history) noteCreate(by string) {
	h.note("create", attributes{}.by(by))
	h.made = true
}

// noteEnd tells that the sandbox has ended.
func (h *history) noteEnd(code int) {
	h.mu.Lock()
	reason, stopped, stopper := h.reason, h.stopped, h.stopper
	h.mu.Unlock()
	more := attributes{"exitCode": strconv.Itoa(code)}
	if reason != "" {
		more["reason"] = reason
	}
	h.note("die", more)
	if stopped {
		h.note("stop", attributes{}.by(stopper))
	}
}

// conclude makes the record final, in memory.
func (h *history) conclude(status unix.WaitStatus, takedown error) wire.ExitBody {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.entry.Record
	r.Status, r.Finished, r.PID = record.Exited, time.Now().UTC(), 0
	r.Outcome.ExitCode, r.Outcome.Reason = process.ExitCode(status), h.reason
	if takedown != nil {
		r.Outcome.Error = takedown.Error()
	}
	return wire.ExitBody{Code: r.Outcome.ExitCode, Reason: r.Outcome.Reason}
}

// close writes the final record or, of a sandbox that is not to be kept, removes
// what is known of it. Whatever could not be taken down is err.
func (h *history) close(err error) error {
	if h.record().Asked.AutoRemove {
		err = errors.Join(err, h.entry.Delete())
		h.note("destroy", nil)
		return err
	}
	saved := h.change(func(*record.Record) {})
	return errors.Join(err, saved)
}

// drop removes what is known of a sandbox that did not start.
func (h *history) drop() error { return h.entry.Delete() }

// noteDropped tells that a sandbox that did not start is gone.
func (h *history) noteDropped() {
	if h.made {
		h.note("destroy", nil)
	}
}
