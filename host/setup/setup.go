// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package setup changes once what only an administrator can: what systemd
// delegates to users, a user's subordinate ids, whether the user lingers.
//
// [Look] finds out what there is, [Plan] is pure and says which steps are
// missing, [Apply] takes them, and [Undo] takes back exactly those. Each step
// is on record before it is taken, so that one that was cut off can be undone;
// to take or undo a step twice does nothing. A file that is there and was not
// written by this package is never overwritten, and one that somebody changed
// afterwards is not removed.
//
// It runs as root, in the host's namespaces. No descriptor is kept; two at a
// time are kept apart by a lock on the record.
package setup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// Kind is what a step does.
type Kind string

const (
	// File writes a file.
	File Kind = "file"
	// Range gives a user subordinate ids.
	Range Kind = "range"
	// Linger lets a user's services run without a session.
	Linger Kind = "linger"
)

// Step is one change of the host.
type Step struct {
	Kind Kind   `json:"kind"`
	Why  string `json:"why"`
	// File: Path, Content, and the commands that make it known.
	Path    string     `json:"path,omitempty"`
	Content string     `json:"content,omitempty"`
	After   [][]string `json:"after,omitempty"` // also after it was removed
	// Then are commands that may fail: what they do comes by itself later, at
	// the next login or boot.
	Then [][]string `json:"then,omitempty"`
	// Unload are commands before a file is removed again; they may fail, too.
	Unload [][]string `json:"unload,omitempty"`
	// Replaces: an older version of this package's file is at Path.
	Replaces bool `json:"replaces,omitempty"`
	// Made are directories above Path that were not there before, outermost first.
	Made []string `json:"made,omitempty"`
	// Range and Linger: whose; First is the first of the ids.
	User  string `json:"user,omitempty"`
	First int    `json:"first,omitempty"`
	// GIDs, UIDs: of which kind there is no range yet.
	UIDs bool `json:"uids,omitempty"`
	GIDs bool `json:"gids,omitempty"`
}

// Request is what is asked for.
type Request struct {
	User   string
	UID    int
	Linger bool
	// Extra are further files that belong on every host of this kind.
	Extra []Step
}

// State is what there is already.
type State struct {
	Systemd   bool
	Delegates []string // controllers that systemd delegates to the user
	HasUIDs   bool     // a range of subordinate ids that is large enough
	HasGIDs   bool
	FreeID    int // from here on up, no range has any
	Lingers   bool
	// Running: the user's systemd runs.
	Running bool
	// Files are the contents of files that steps would write, where they exist.
	Files map[string]string
	// Ours are the contents that are on record as written.
	Ours map[string]string
}

// delegated are the controllers that a user's sandboxes and their limits need.
const delegated = "cpu cpuset io memory pids"

// DropIns are the places for the drop-in, the first that is free is taken. The
// last one comes after an administrator's own.
func dropIns() []string {
	const dir = "/etc/systemd/system/user@.service.d/"
	return []string{dir + "delegate.conf", dir + "zz-cpc-delegate.conf"}
}

const dropInText = "# Written by cpc setup; cpc setup --undo removes it.\n[Service]\nDelegate=" + delegated + "\n"

// ErrOccupied reports a file that this package did not write.
var ErrOccupied = errors.New("there is another file, which cpc did not write")

// Plan says which steps are missing.
func Plan(r Request, s State) ([]Step, error) {
	var steps []Step
	if s.Systemd && slices.ContainsFunc(strings.Fields(delegated), func(c string) bool { return !slices.Contains(s.Delegates, c) }) {
		step, err := delegation(r, s)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	if r.UID != 0 && (!s.HasUIDs || !s.HasGIDs) {
		if s.FreeID+idmap.Size > 1<<31 {
			return nil, fmt.Errorf("subordinate ids of %s: no range is free", r.User)
		}
		steps = append(steps, Step{
			Kind: Range, User: r.User, First: s.FreeID, UIDs: !s.HasUIDs, GIDs: !s.HasGIDs,
			Why: "the ids of the user's sandboxes",
		})
	}
	for _, extra := range r.Extra {
		content, there := s.Files[extra.Path]
		if there && content == extra.Content {
			continue
		}
		if there && content != s.Ours[extra.Path] {
			return nil, fmt.Errorf("%s: %w", extra.Path, ErrOccupied)
		}
		extra.Replaces = there
		steps = append(steps, extra)
	}
	if r.Linger && s.Systemd && r.UID != 0 && !s.Lingers {
		steps = append(steps, Step{Kind: Linger, User: r.User, Why: "the user's sandboxes outlive the session"})
	}
	return steps, nil
}

func delegation(r Request, s State) (Step, error) {
	step := Step{
		Kind: File, Content: dropInText, Why: "limits for the sandboxes of all users (not all controllers reach them yet)",
		After: [][]string{{"systemctl", "daemon-reload"}},
	}
	for _, path := range dropIns() {
		if _, there := s.Files[path]; !there {
			step.Path = path
			break
		}
	}
	if step.Path == "" {
		return step, fmt.Errorf("%s: %w, and it is not enough: Delegate=%s is missing", dropIns()[1], ErrOccupied, delegated)
	}
	// A user's systemd that runs learns of it without ending anything: the
	// system's turns the controllers on when it next looks at the unit, and
	// the user's when it starts itself anew, with all that it has.
	if s.Running && r.UID != 0 {
		unit := fmt.Sprintf("user@%d.service", r.UID)
		step.Then = [][]string{
			{"systemctl", "set-property", "--runtime", unit, "CPUAccounting=yes"},
			{"runuser", "-u", r.User, "--", "env", fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", r.UID), "systemctl", "--user", "daemon-reexec"},
		}
	}
	return step, nil
}

// Commands are what a person would type for the step; for reading.
func (s Step) Commands() []string {
	var out []string
	switch s.Kind {
	case File:
		out = append(out, "write "+s.Path)
		for line := range strings.Lines(s.Content) {
			out = append(out, "  | "+strings.TrimSuffix(line, "\n"))
		}
	case Range, Linger:
		out = append(out, strings.Join(s.command(), " "))
	}
	for _, c := range append(slices.Clone(s.After), s.Then...) {
		out = append(out, strings.Join(c, " "))
	}
	return out
}

// Undoing says what taking the step back does.
func (s Step) Undoing() string {
	switch s.Kind {
	case Range:
		return fmt.Sprintf("remove the range of ids of %s that begins at %d", s.User, s.First)
	case Linger:
		return "loginctl disable-linger " + s.User
	case File:
	}
	return "remove " + s.Path
}

// command is what takes a step that is not a file.
func (s Step) command() []string {
	if s.Kind == Linger {
		return []string{"loginctl", "enable-linger", s.User}
	}
	ids := fmt.Sprintf("%d-%d", s.First, s.First+idmap.Size-1)
	c := []string{"usermod"}
	if s.UIDs {
		c = append(c, "--add-subuids", ids)
	}
	if s.GIDs {
		c = append(c, "--add-subgids", ids)
	}
	return append(c, s.User)
}
