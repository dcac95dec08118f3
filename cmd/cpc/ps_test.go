// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// TestFilters holds docker's rules of filters that are given several times.
func TestFilters(t *testing.T) {
	r := &record.Record{
		ID: "abcdef", Name: "web-1", Status: record.Running,
		Asked: record.Asked{Image: "debian", ImageDigest: "sha256:12", Labels: map[string]string{"a": "1", "b": "2"}},
	}
	for _, c := range []struct {
		filters []string
		want    bool
	}{
		{[]string{"name=other", "name=web"}, true},
		{[]string{"name=other", "name=none"}, false},
		{[]string{"name=web", "status=exited"}, false},
		{[]string{"status=exited", "status=running", "name=web"}, true},
		{[]string{"name=^web-[0-9]$"}, true},
		{[]string{"name=^/web-1$"}, true},
		{[]string{"name=^eb"}, false},
		{[]string{"label=a", "label=b=2"}, true},
		{[]string{"label=a", "label=b=3"}, false},
		{[]string{"ancestor=debian:latest"}, true},
		{[]string{"ancestor=docker.io/library/debian"}, true},
		{[]string{"ancestor=sha256:12"}, true},
		{[]string{"ancestor=debian:trixie"}, false},
	} {
		keep, err := parseFilters(c.filters, filterSources{})
		if err != nil || keep(r) != c.want {
			t.Errorf("%q: want %v (%v)", c.filters, c.want, err)
		}
	}
	if _, err := parseFilters([]string{"name=("}, filterSources{}); err == nil {
		t.Error("name=( is taken")
	}
}

// TestDockerFilters: the keys that docker documents are known, and what they are
// said to be about is what they test.
func TestDockerFilters(t *testing.T) {
	r := exampleRecord()
	ended := *r
	ended.Status, ended.Outcome.ExitCode = record.Exited, 137
	from := filterSources{
		built: func(image string) map[string]bool {
			return map[string]bool{r.Asked.ImageDigest: image == "aaaaaaaaaaaa" || image == "parent:1"}
		},
		created: func(name string) (time.Time, error) {
			if name != "other" {
				return time.Time{}, record.ErrNotFound
			}
			return r.Created.Add(time.Hour), nil
		},
	}
	for filter, want := range map[string][2]bool{ // of one that runs, and one that has ended
		"id=0123": {true, true}, "name=bo": {true, true}, "label=com.example": {true, true}, "label=com.example=v": {true, true}, "label=none": {},
		"label!=none": {true, true}, "label!=com.example": {}, "label!=com.example=w": {true, true},
		"exited=137": {false, true}, "exited=0": {}, "status=running": {true, false}, "status=exited": {false, true}, "status=removing": {},
		"ancestor=debian:trixie-slim": {true, true}, "ancestor=docker.io/library/debian:trixie-slim": {true, true}, "ancestor=debian": {},
		"ancestor=aaaaaaaaaaaa": {true, true}, "ancestor=parent:1": {true, true}, "ancestor=bbbbbbbbbbbb": {},
		"ancestor=" + r.Asked.ImageDigest: {true, true},
		"before=other":                    {true, true}, "since=other": {}, "volume=v": {}, "publish=80": {}, "expose=80/tcp": {}, "isolation=default": {},
		"network=allowlist": {true, true}, "network=bridge": {true, true}, "network=none": {},
		"health=none": {true, true}, "health=healthy": {}, "is-task=false": {true, true}, "is-task=true": {},
	} {
		keep, err := parseFilters([]string{filter}, from)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got := [2]bool{keep(r), keep(&ended)}; got != want {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	for _, bad := range []string{"status=done", "exited=ok", "before=nobody", "health=good", "is-task=maybe", "nosuch=1"} {
		if _, err := parseFilters([]string{bad}, from); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	for _, key := range []string{"dangling=true", "label=a", "label=a=1", "reference=x*", "until=24h", "label!=a"} {
		if _, err := parseImageFilters(t.Context(), nil, []string{key}); err != nil {
			t.Errorf("images, %s: %v", key, err)
		}
	}
	for key, want := range map[string]bool{
		"container=box": true, "event=start": true, "image=debian": true, "label=com.example": true, "label=com.example=v": true, "label=com.example=w": false,
		"type=container": true, "scope=local": true, "config=x": false, "daemon=x": false, "network=x": false, "node=x": false, "plugin=x": false,
		"secret=x": false, "service=x": false, "volume=x": false,
	} {
		keep, err := eventFilter([]string{key})
		if err != nil || keep(journal.New(r, "start", nil)) != want {
			t.Errorf("events, %s: want %v (%v)", key, want, err)
		}
	}
}

// TestImageOfASandbox: ps shows what a sandbox runs, also when the name has moved on.
func TestImageOfASandbox(t *testing.T) {
	const ran, newer, id = "sha256:1111111111111111", "sha256:2222222222222222", "sha256:aaaaaaaaaaaaaaaaaaaa"
	r := &record.Record{Asked: record.Asked{Image: "work:latest", ImageDigest: ran}}
	ids := map[string]string{ran: id}
	for name, c := range map[string]struct {
		named       map[string]string
		short, long string
	}{
		"the name stands for it":    {map[string]string{"work:latest": ran}, "work:latest", "work:latest"},
		"the name stands for newer": {map[string]string{"work:latest": newer}, "aaaaaaaaaaaa", id},
		"the name is gone":          {map[string]string{"work:latest": ""}, "aaaaaaaaaaaa", id},
		"the store cannot be read":  {nil, "work:latest", "work:latest"},
	} {
		images := currentImages{named: c.named, ids: ids}
		if got := images.of(r, false); got != c.short {
			t.Errorf("%s: %q, want %q", name, got, c.short)
		}
		if got := images.of(r, true); got != c.long {
			t.Errorf("%s: %q, want %q", name, got, c.long)
		}
	}
}
