// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/sandbox/journal"
)

func anEvent() journal.Event {
	return journal.Event{
		Status: "exec_start: ls", ID: "abcdef", From: "debian:trixie", Type: "container", Action: "exec_start: ls", Scope: "local",
		Actor: journal.Actor{ID: "abcdef", Attributes: map[string]string{"name": "work", "image": "debian:trixie", "k": "v\x1b[m"}},
	}
}

func TestEventFilter(t *testing.T) {
	for filters, want := range map[string]bool{
		"": true, "container=work": true, "container=abc": true, "container=wor": false, "event=exec_start": true, "event=start": false,
		"image=debian": true, "image=deb": false, "label=k": true, "label=k=w": false, "type=container": true, "type=image": false,
		"event=die event=exec_start": true, "event=exec_start container=other": false,
	} {
		keep, err := eventFilter(strings.Fields(filters))
		if err != nil || keep(anEvent()) != want {
			t.Errorf("%q: not %v (%v)", filters, want, err)
		}
	}
	for _, f := range []string{"container", "colour=red"} {
		if _, err := eventFilter([]string{f}); err == nil {
			t.Errorf("%q: accepted", f)
		}
	}
}

func TestEventFormats(t *testing.T) {
	for format, want := range map[string]string{
		"json": `{"status":"exec_start: ls","id":"abcdef","from":"debian:trixie","Type":"container",`, "{{.Actor.ID}} {{.Type}}": "abcdef container\n",
		"": " container exec_start: ls abcdef (image=debian:trixie, k=v, name=work)\n",
	} {
		var b bytes.Buffer
		show, err := eventPrinter(&b, &eventsFlags{format: format})
		if err == nil {
			err = show(anEvent())
		}
		if err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%q: %q, %v", format, b.String(), err)
		}
	}
	if _, err := eventPrinter(nil, &eventsFlags{format: "{{"}); err == nil {
		t.Error("a broken template is accepted")
	}
}

func TestTopPicksProcesses(t *testing.T) {
	lines := []string{"UID   PID CMD", "a   12 sh -c  x", "b   13 other", "c"}
	rows, err := ofProcesses(lines, []int{12})
	if err != nil || len(rows) != 2 || strings.Join(rows[1], "|") != "a|12|sh -c x" {
		t.Errorf("%q, %v", rows, err)
	}
	if _, err := ofProcesses([]string{"CMD", "x"}, []int{1}); err == nil {
		t.Error("no column PID, and no error")
	}
}
