// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	first  = "/etc/systemd/system/user@.service.d/delegate.conf"
	second = "/etc/systemd/system/user@.service.d/zz-cpc-delegate.conf"
)

func alice() Request { return Request{User: "alice", UID: 1000} }

// fresh is a Debian host on which nothing was set up yet.
func fresh() State {
	return State{Systemd: true, Delegates: []string{"cpu", "memory", "pids"}, FreeID: 165536, Running: true, Files: map[string]string{}}
}

func TestPlan(t *testing.T) {
	profile := Step{Kind: File, Path: "/etc/apparmor.d/cpc", Content: "profile"}
	for _, c := range []struct {
		name   string
		change func(r *Request, s *State)
		want   []string // Kind and Path or command
	}{
		{"fresh", func(*Request, *State) {}, []string{"file " + first, "range usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice"}},
		{"again", func(_ *Request, s *State) {
			s.Delegates, s.HasUIDs, s.HasGIDs = strings.Fields(delegated), true, true
		}, nil},
		{"an administrator's drop-in that is enough", func(_ *Request, s *State) {
			s.Delegates, s.Files[first], s.HasUIDs, s.HasGIDs = strings.Fields(delegated), "[Service]\nDelegate=yes\n", true, true
		}, nil},
		{"one that is not", func(_ *Request, s *State) {
			s.Files[first], s.HasUIDs, s.HasGIDs = "[Service]\nDelegate=pids\n", true, true
		}, []string{"file " + second}},
		{"a range of users only", func(_ *Request, s *State) {
			s.Systemd, s.HasUIDs = false, true
		}, []string{"range usermod --add-subgids 165536-231071 alice"}},
		{"linger", func(r *Request, s *State) {
			r.Linger, s.HasUIDs, s.HasGIDs, s.Delegates = true, true, true, strings.Fields(delegated)
		}, []string{"linger loginctl enable-linger alice"}},
		{"lingers already", func(r *Request, s *State) {
			r.Linger, s.Lingers, s.HasUIDs, s.HasGIDs, s.Delegates = true, true, true, true, strings.Fields(delegated)
		}, nil},
		{"nobody in particular", func(r *Request, _ *State) { *r = Request{} }, []string{"file " + first}},
		{"a profile", func(r *Request, s *State) {
			r.Extra, s.Systemd, s.HasUIDs, s.HasGIDs = []Step{profile}, false, true, true
		}, []string{"file /etc/apparmor.d/cpc"}},
		{"a profile that is there", func(r *Request, s *State) {
			r.Extra, s.Systemd, s.HasUIDs, s.HasGIDs = []Step{profile}, false, true, true
			s.Files[profile.Path] = profile.Content
		}, nil},
		{"a profile of an older version", func(r *Request, s *State) {
			r.Extra, s.Systemd, s.HasUIDs, s.HasGIDs = []Step{profile}, false, true, true
			s.Files[profile.Path], s.Ours = "old", map[string]string{profile.Path: "old"}
		}, []string{"file /etc/apparmor.d/cpc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, s := alice(), fresh()
			c.change(&r, &s)
			steps, err := Plan(r, s)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, step := range steps {
				what := step.Path
				if step.Kind != File {
					what = strings.Join(step.command(), " ")
				}
				got = append(got, string(step.Kind)+" "+what)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	s := fresh()
	s.Files[first], s.Files[second] = "x", "y"
	if _, err := Plan(alice(), s); !errors.Is(err, ErrOccupied) {
		t.Errorf("both drop-ins are there: %v", err)
	}
	s = fresh()
	s.FreeID = 1<<31 - 1
	if steps, err := Plan(alice(), s); err == nil {
		t.Errorf("no id is left, and %v", steps)
	}
	s = fresh()
	s.Files["/p"] = "another's"
	if _, err := Plan(Request{Extra: []Step{{Kind: File, Path: "/p", Content: "ours"}}}, s); !errors.Is(err, ErrOccupied) {
		t.Errorf("another's profile: %v", err)
	}
}

// newHost is a host of files below a directory, that notes commands.
func newHost(t *testing.T) (Host, *[]string) {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var ran []string
	return Host{Record: filepath.Join(root, "var/lib/cpc/setup.json"), Root: root, Run: func(c []string) error {
		ran = append(ran, strings.Join(c, " "))
		return nil
	}}, &ran
}

// tree lists the files and directories below the host's /etc.
func tree(t *testing.T, h Host) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(h.Root, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, strings.TrimPrefix(path, h.Root))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.DeleteFunc(out, func(p string) bool { return strings.HasPrefix(p, "/var") }), "\n")
}

func TestApplyAndUndo(t *testing.T) {
	h, ran := newHost(t)
	before := tree(t, h)
	r := alice()
	r.Linger = true
	steps, err := Plan(r, fresh())
	if err != nil {
		t.Fatal(err)
	}
	if w, err := h.Apply(steps); err != nil || len(w) > 0 {
		t.Fatal(w, err)
	}
	content, err := os.ReadFile(h.Root + first)
	if err != nil || string(content) != dropInText {
		t.Errorf("%q, %v", content, err)
	}
	want := []string{
		"systemctl daemon-reload", "systemctl set-property --runtime user@1000.service CPUAccounting=yes",
		"runuser -u alice -- env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user daemon-reexec",
		"usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice", "loginctl enable-linger alice",
	}
	if !slices.Equal(*ran, want) {
		t.Errorf("ran %q", *ran)
	}
	if _, err := h.Apply(steps[:1]); !errors.Is(err, ErrOccupied) {
		t.Errorf("written twice: %v", err)
	}
	*ran = nil
	if done, err := h.Undo(""); err != nil || len(done) != 3 {
		t.Errorf("%q, %v", done, err)
	}
	want = []string{"loginctl disable-linger alice", "systemctl daemon-reload"}
	if !slices.Equal(*ran, want) {
		t.Errorf("ran %q", *ran)
	}
	if after := tree(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if left, err := h.Steps(); err != nil || len(left) > 0 {
		t.Errorf("still on record: %v, %v", left, err)
	}
}

// TestReplace: a file of an older version becomes the new one, and is undone
// like it.
func TestReplace(t *testing.T) {
	h, _ := newHost(t)
	before := tree(t, h)
	old := Step{Kind: File, Path: "/etc/apparmor.d/cpc", Content: "old"}
	fresh := Step{Kind: File, Path: old.Path, Content: "new", Replaces: true}
	for _, s := range []Step{old, fresh} {
		if _, err := h.Apply([]Step{s}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(h.Root + s.Path); err != nil || string(got) != s.Content {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := h.Undo(""); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestUndoLeavesOthers: what somebody changed stays, and so does what another
// user's sandboxes need.
func TestUndoLeavesOthers(t *testing.T) {
	h, ran := newHost(t)
	steps, err := Plan(alice(), fresh())
	if err != nil {
		t.Fatal(err)
	}
	steps = append(steps, Step{Kind: Range, User: "root", First: 300000, UIDs: true})
	if _, err := h.Apply(steps); err != nil {
		t.Fatal(err)
	}
	if done, err := h.Undo("alice"); err != nil || len(done) != 1 {
		t.Errorf("%q, %v", done, err)
	}
	if left, err := h.Steps(); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.WriteFile(h.Root+first, []byte("# mine now\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	*ran = nil
	if _, err := h.Undo(""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.Root + first); err != nil {
		t.Errorf("the changed file is gone: %v", err)
	}
	if len(*ran) > 0 {
		t.Errorf("ran %q", *ran)
	}
}

// TestToUndo: what is listed before it is taken back is what is taken back then.
func TestToUndo(t *testing.T) {
	h, _ := newHost(t)
	mine := []Step{{Kind: File, Path: "/etc/all.conf", Content: "x"}, {Kind: Linger, User: "alice"}}
	theirs := Step{Kind: Linger, User: "bob"}
	if err := os.MkdirAll(filepath.Dir(h.Record), 0o700); err != nil {
		t.Fatal(err)
	}
	const all, alice, bob = "remove /etc/all.conf", "loginctl disable-linger alice", "loginctl disable-linger bob"
	for _, c := range []struct {
		steps []Step
		user  string
		want  []string
	}{
		{append(mine, theirs), "", []string{bob, alice, all}},
		{append(mine, theirs), "alice", []string{alice}},
		{mine, "alice", []string{alice, all}},
	} {
		if err := h.save(c.steps); err != nil {
			t.Fatal(err)
		}
		steps, err := h.ToUndo(c.user)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range steps {
			got = append(got, s.Undoing())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("of %q: %q, want %q", c.user, got, c.want)
		}
		done, err := h.Undo(c.user)
		if err != nil || len(done) != len(c.want) {
			t.Errorf("of %q taken back: %q, %v", c.user, done, err)
		}
	}
}

// TestApplyStops: a command that fails is an error, and what was begun can be
// undone.
func TestApplyStops(t *testing.T) {
	h, _ := newHost(t)
	run := h.Run
	h.Run = func(c []string) error {
		if c[0] == "usermod" && c[1] == "--add-subuids" {
			return errors.New("cannot lock /etc/subuid")
		}
		return run(c)
	}
	steps, err := Plan(alice(), fresh())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Apply(steps); err == nil || !strings.Contains(err.Error(), "cannot lock") {
		t.Errorf("error %v", err)
	}
	if taken, err := h.Steps(); err != nil || len(taken) != 2 {
		t.Errorf("on record: %v, %v", taken, err)
	}
	if _, err := h.Undo(""); err != nil {
		t.Error(err)
	}
}

// TestRemoveRanges: only the step's own line goes, and another's lock is waited
// for.
func TestRemoveRanges(t *testing.T) {
	h, _ := newHost(t)
	const before = "bob:100000:65536\nalice:165536:65536\nalice:300000:65536"
	file := filepath.Join(h.Root, "etc/subuid")
	if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	released := time.AfterFunc(300*time.Millisecond, func() { _ = os.Remove(file + ".lock") })
	defer released.Stop()
	step := Step{Kind: Range, User: "alice", First: 165536, UIDs: true, GIDs: true} // there is no subgid
	for range 2 {
		if err := h.removeRanges(step); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != "bob:100000:65536\nalice:300000:65536" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(h.Root, "etc/subuid?*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}
