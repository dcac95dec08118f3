// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// clocked is an activity without a clock of its own.
func clocked(width int) (t *activity, out *bytes.Buffer, after func(time.Duration)) {
	out = &bytes.Buffer{}
	t = &activity{w: out, what: "Reading", since: time.Now()}
	if width > 0 {
		t.width = func() int { return width }
	}
	return t, out, func(d time.Duration) { t.show(t.since.Add(d)) }
}

func TestActivityWithoutTerminal(t *testing.T) {
	a, out, after := clocked(0)
	after(900 * time.Millisecond)
	a.now("Unpacking\x1b[2J a layer\nforged")
	a.at(1, 30e6)
	after(9900 * time.Millisecond)
	if out.Len() > 0 {
		t.Errorf("of what was quick: %q", out)
	}
	after(10 * time.Second)
	after(20 * time.Second)
	a.now("Removing")
	after(12 * time.Second)
	a.now("Quick")
	a.end()
	if want := "Unpacking a layer forged (30MB)\nRemoving\n"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestActivityOnTerminal(t *testing.T) {
	a, out, after := clocked(40)
	after(900 * time.Millisecond)
	if out.Len() > 0 {
		t.Errorf("of what was quick: %q", out)
	}
	a.at(10e6, 30e6)
	after(2 * time.Second)
	a.now("Writing 漢字漢字漢字漢字漢字漢字漢字漢字漢字")
	after(0) // the line is there: its next step shows at once
	a.say("warning: x")
	a.stop = make(chan struct{})
	a.end()
	lines := strings.Split(out.String(), "\r")
	want := []string{
		"", "Reading: 10MB of 30MB, 2 s\x1b[K", "Writing 漢字漢字漢字漢字漢字漢字漢字漢…\x1b[K", "\x1b[Kwarning: x\n", "\x1b[K",
	}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", lines, want)
	}
	for _, l := range lines {
		if w := visible.Width(strings.TrimSuffix(l, "\x1b[K")); w > 39 {
			t.Errorf("%d columns: %q", w, l)
		}
	}
}

// Its goroutine ends with it, whenever that is.
func TestActivityEnds(*testing.T) {
	for range 50 {
		a := &activity{w: io.Discard}
		a.start("Reading", 50*time.Microsecond)
		a.at(1, 2)
		time.Sleep(60 * time.Microsecond)
		a.end()
		a.end()
	}
}

// With -q nothing is said, and nothing fails.
func TestActivityQuiet(t *testing.T) {
	a := working("Reading", true)
	a.now("Writing")
	a.at(1, 2)
	a.unpacking()(rootfs.Event{Action: "unpack"})
	if data, err := io.ReadAll(a.reading(strings.NewReader("x"), "Then")); string(data) != "x" || err != nil {
		t.Error(data, err)
	}
	a.end()
}

// A file is measured, and can be read twice; a pipe cannot.
func TestActivityReading(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, out, after := clocked(40)
	r := a.reading(f, "Next")
	if _, err := io.CopyN(io.Discard, r, 4); err != nil {
		t.Fatal(err)
	}
	after(time.Second)
	if !strings.Contains(out.String(), "Reading: 4B of 10B, 1 s") {
		t.Errorf("%q", out)
	}
	if n, err := r.(io.Seeker).Seek(0, io.SeekStart); n != 0 || err != nil {
		t.Error(n, err)
	}
	if data, err := io.ReadAll(r); string(data) != "0123456789" || err != nil || a.what != "Next" {
		t.Errorf("%q, %v, then %q", data, err, a.what)
	}
	if _, err := a.reading(strings.NewReader(""), "").(io.Seeker).Seek(0, io.SeekStart); err != nil {
		t.Error(err)
	}
	if _, err := a.reading(io.MultiReader(), "").(io.Seeker).Seek(0, io.SeekStart); err == nil {
		t.Error("a pipe can be read twice")
	}
}

// Without a terminal a transfer has a line for each state that takes a second,
// and one at its end.
func TestProgressPlain(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out}
	d := digest.FromString("x")
	ago := func() { p.find(shortDigest(d.String())).since = time.Now().Add(-2 * time.Second) }
	tell := func(action string, done int64) {
		p.event(rootfs.Event{Action: action, Digest: d, Done: done, Total: 9e6})
	}
	tell("download", 1e6)
	ago()
	tell("download", 2e6)
	tell("download", 3e6)
	tell("unpack", 1e6)
	ago()
	tell("unpack", 2e6)
	tell("unpacked", 9e6)
	tell("sync", 9e6)
	tell("done", 9e6)
	tell("done", 9e6)
	tell("unpack", 0) // and what was here already may have to be unpacked
	tell("ready", 9e6)
	id := shortDigest(d.String())
	want := strings.ReplaceAll("ID: Downloading (9MB)\nID: Unpacking (9MB)\nID: Pull complete (9MB)\nID: Unpacked (9MB)\n", "ID", id)
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
