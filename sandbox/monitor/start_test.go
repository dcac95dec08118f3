// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// TestStartFails: whichever step of a start fails, the client is told of it, what
// was made is taken down, and nothing is left.
func TestStartFails(t *testing.T) {
	for name, c := range map[string]struct {
		fail   string // a call
		task   func(*Task)
		spoil  func(Task) // what lies on disk
		says   string     // "": what errBroken says
		root   bool       // it was mounted
		made   bool       // the runtime has been called
		exists bool       // and has made a process
	}{
		"settle": {fail: "settle"},
		"root":   {fail: "root"},
		"policy": {task: func(t *Task) {
			t.options().Network, t.Record.Asked.Network.Policy.Allow = bundle.NetworkAllowlist, []string{"a b"}
		}, says: "egress", root: true},
		"user":        {task: func(t *Task) { t.options().User = "nobody-here" }, says: "nobody-here", root: true},
		"plan":        {task: func(t *Task) { t.options().Seccomp = "" }, says: "no seccomp profile", root: true},
		"bundle":      {spoil: func(t Task) { _ = os.Mkdir(inside(t, "bundle"), 0o700) }, says: "bundle", root: true},
		"log":         {spoil: func(t Task) { _ = os.Mkdir(filepath.Join(t.Dirs.Data, "sandboxes", t.Record.ID, "log"), 0o700) }, says: "log", root: true},
		"create":      {fail: "create", root: true, made: true},
		"limits":      {task: func(t *Task) { t.Plan = cgroups.Plan{Path: "/nowhere", Limits: cgroups.Limits{Pids: 1}} }, says: "cgroup", root: true, made: true, exists: true},
		"host pid":    {fail: "host pid", root: true, made: true, exists: true},
		"start":       {fail: "start", root: true, made: true, exists: true},
		"delete, too": {fail: "delete", task: func(t *Task) { t.Plan = cgroups.Plan{Path: "/nowhere", Limits: cgroups.Limits{Pids: 1}} }, root: true, made: true, exists: true},
	} {
		t.Run(name, func(t *testing.T) {
			set, task := newBox(t, c.task)
			if c.spoil != nil {
				c.spoil(task)
			}
			synctest.Test(t, func(t *testing.T) {
				b := runBox(task, &fake{fail: c.fail})
				kind, p, err := b.owner.ReadFrame()
				var told wire.FailureBody
				if err != nil || kind != wire.Failure || wire.Decode(kind, p, &told) != nil {
					t.Fatalf("%q %s %v", kind, p, err)
				}
				if c.says == "" {
					c.says = errBroken.Error()
				}
				if told.Code != 125 || told.Hint != "a hint" || !strings.Contains(told.Message, c.says) {
					t.Errorf("told: %+v", told)
				}
				b.end()
				if b.called("close root") != c.root || b.called("delete") != c.made {
					t.Errorf("calls: %v", b.calls)
				}
				if c.exists != slices.Contains(b.init.got(), unix.SIGKILL) || c.exists != (b.init.waited == 1) {
					t.Errorf("process: signals %v, waited for %d times", b.init.got(), b.init.waited)
				}
				if _, err := b.listener.dial(); err == nil || !b.unlocked {
					t.Error("the control is still open")
				}
			})
			if all, err := set.List(); err != nil || len(all) > 0 {
				t.Errorf("%d records are left, %v", len(all), err)
			}
			want := []string(nil)
			if c.made {
				want = []string{"create", "destroy"}
			}
			if got := actions(t, journal.Common(set)); !slices.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
		})
	}
}

// inside is a file of the sandbox's directory.
func inside(t Task, name string) string {
	return filepath.Join(t.Dirs.State, "sandboxes", t.Record.ID, name)
}

// TestStartNobodyHearsOf: a client that is gone before the program runs, and a
// record that cannot be written, end the sandbox.
func TestStartNobodyHearsOf(t *testing.T) {
	for _, name := range []string{"client", "record"} {
		t.Run(name, func(t *testing.T) {
			set, task := newBox(t, nil)
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				var b *box
				f.before = map[string]func(){"start": func() {
					if name == "client" {
						_ = b.owner.Close()
					} else {
						_ = os.RemoveAll(inside(task, ""))
					}
				}}
				f.hold = "settle"
				b = runBox(task, f)
				close(b.release)
				if kind, _, err := b.owner.ReadFrame(); kind != wire.Failure && err == nil {
					t.Errorf("told %q", kind)
				}
				b.end()
				if b.init.waited != 1 || !b.called("delete") || !b.called("close root") {
					t.Errorf("calls %v, waited for %d times", b.calls, b.init.waited)
				}
			})
			if all, err := set.List(); err != nil || len(all) > 0 {
				t.Errorf("%d records are left, %v", len(all), err)
			}
		})
	}
}

// TestDryRun: nothing is made, and the client has the bundle.
func TestDryRun(t *testing.T) {
	set, task := newBox(t, func(t *Task) { t.DryRun = true })
	synctest.Test(t, func(t *testing.T) {
		b := runBox(task, &fake{})
		kind, p, err := b.owner.ReadFrame()
		if err != nil || kind != wire.Reply || !strings.Contains(string(p), "ociVersion") {
			t.Errorf("%q %s %v", kind, p, err)
		}
		b.end()
		if b.called("create") || !b.called("close root") {
			t.Errorf("calls: %v", b.calls)
		}
	})
	if all, err := set.List(); err != nil || len(all) > 0 {
		t.Errorf("%d records are left, %v", len(all), err)
	}
}
